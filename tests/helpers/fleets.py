"""Devices whose times one works out in one's head, for tests of what happens on the clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.runs.run import Run
from fedlab.scenario import Scenario
from fedlab.virtual_time.device_population import DevicePopulation
from fedlab.virtual_time.spec import DeviceProfile, DevicesSpec
from helpers import toy

AT_ONCE = {"download_mbps": float("inf"), "upload_mbps": float("inf")}
"""Bytes take no time."""

SLOWER_AND_SLOWER: list[dict[str, Any]] = [
    {"name": "quick", "domains": ["d0"], "samples_per_second": 40, **AT_ONCE},
    {"name": "usual", "domains": ["d1"], "samples_per_second": 20, **AT_ONCE},
    {"name": "slow", "domains": ["d2"], "samples_per_second": 10, **AT_ONCE},
]
"""For the toy problem, whose clients 0, 1 and 2 have 40 samples of d0, d1 and d2: they take 1, 2
and 4 seconds for an epoch."""


def fleet_of(
    training: Sequence[float], availability: float = 1.0, seed: int = 0, **spec: Any
) -> DevicePopulation:
    """Clients that train for so many seconds, and receive and send in none."""
    profile = DeviceProfile(samples_per_second=1, availability=availability, **AT_ONCE)
    clients = len(training)
    return DevicePopulation(
        spec=DevicesSpec(profiles=(profile,), **spec),
        seed=seed,
        profile=np.zeros(clients, dtype=np.int64),
        training=np.array(training, dtype=np.float64),
        down=np.zeros(clients),
        up=np.zeros(clients),
        availability=np.full(clients, availability),
    )


MLP = {"name": "mlp", "hidden": [8]}


def on_devices(devices: dict[str, Any], **changes: Any) -> Scenario:
    """The toy problem on the devices of `fleets.SLOWER_AND_SLOWER`."""
    fields: dict[str, Any] = {"model": MLP, "rounds": 2}
    devices = {"profiles": SLOWER_AND_SLOWER, **devices}
    return toy.scenario(**fields | changes, devices=devices)


def whole(run: Run, metric: str) -> list[float]:
    """A number of each round as a whole."""
    rows = run.history.query("split == 'round' and metric == @metric")
    return rows["value"].tolist()


def clients(run: Run, metric: str, split: str = "device") -> dict[int, list[int]]:
    """Round -> the clients that have a row of that metric."""
    rows = run.history.query("split == @split and metric == @metric")
    return {number: sorted(of["client"]) for number, of in rows.groupby("round")}
