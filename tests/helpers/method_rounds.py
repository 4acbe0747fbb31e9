"""Rounds of a method as server and clients play them, without a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedlab.clients.base import ClientState, Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.cohorts import assert_same
from helpers.running import At, result

NORMALISED = {"name": "small_cnn", "widths": [4, 4, 4]}


def play(runtime: Runtime, rounds: int, tolerance: float | None = None) -> list[ClientUpdate]:
    """The updates of the last of some rounds of all clients; together they must be as alone."""
    clients = range(len(runtime.partition))
    strategy = build_strategy(runtime.scenario, runtime.trainer.task.model)
    strategy.initialise(dict(runtime.trainer.task.model.state_dict()))
    strategy.population = len(clients)
    own: list[ClientState] = [{} for _ in clients]
    updates: list[ClientUpdate] = []
    for server_round in range(1, rounds + 1):
        received = Received(strategy.broadcast(server_round), strategy.config(server_round))
        alone = [runtime.train(k, received, own[k]) for k in clients]
        if tolerance is not None:
            assert_same(alone, runtime.train_many(list(clients), received, own), tolerance)
        own = [state | sent.client_state for state, (sent, _) in zip(own, alone, strict=True)]
        updates = [ClientUpdate(k, sent.arrays, metrics) for k, (sent, metrics) in enumerate(alone)]
        strategy.aggregate(server_round, updates)
    return updates


def size(records: Sequence[Tensors]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for record in records for tensor in record.values())


def scenario(method: Any, **changes: Any) -> Scenario:
    model = {"name": "small_cnn", "widths": [4, 4, 4]}
    return toy.scenario(**{"strategy": method, "model": model} | changes)


CUT: dict[str, Any] = {
    "rounds": 4,
    "participation": {"fraction": 0.67},
    "evaluation": {"every": 2},
}
"""Of a run that is interrupted after two rounds: not all clients have a state by then."""


def assert_resumes(method: Any, folder: Path) -> None:
    """An interrupted run of a method ends in the bytes of an uninterrupted one."""
    assert_ends_alike(scenario(method, **CUT), folder)


def assert_ends_alike(chosen: Scenario, folder: Path) -> None:
    """A run that is interrupted after two rounds ends in the bytes of an uninterrupted one."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    simulate(chosen, out=folder / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=folder / "cut", callbacks=[At(2, interrupt)], progress=False)
    assert resume(folder / "cut", progress=False).finished
    assert result(folder / "whole") == result(folder / "cut")
