"""Methods that no other module runs on Ray: actors give the bytes that one process gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedlab.scenario import Scenario
from fedlab.simulation import simulate
from helpers import targets, toy
from helpers.running import on, result

CNN = {"name": "small_cnn", "widths": [4, 4, 4]}
METHODS = (
    "fdse",  # sends other tensors to each client
    "ccst",  # asks before the first round, and its clients keep what they are sent then
    "pardon",
    "fediir",  # asks before each round
    *("fpl", "fedplvm"),  # prototypes go up, beside the model
    "fedheal",  # masks do
    "feddg_ga",  # losses do, and the server weighs clients by them
    *("qfedavg", "afl"),
    "fedsr",  # draws random numbers in a step
    "fedlesam",  # its clients keep a model
    "llp_bp",  # its clients label samples anew in each round
    *("fedetf", "fedbabu", "f2dc", "sla"),
    "nmtune",
)
NEEDS: dict[str, dict[str, Any]] = {
    "feddg_ga": {"evaluation": {"validation": 0.2}},
    "llp_bp": {"partition": {"clients": 3, "label_proportions": {"bag_size": 4}}},
}


def chosen(method: str, backend: str) -> Scenario:
    if method == "nmtune":
        block = {"name": "nmtune", "largest": 2, "base": "fedbn"}
        return targets.scenario("class", model="linear", strategy=block, resources=on(backend))
    sources = [{"name": "helpers.toy:Stripes", "train": 16, "test": 8}]
    return toy.scenario(
        strategy=method,
        model=CNN,
        data={"sources": sources, "image_size": 8},
        training={"batch_size": 8, "optimizer": {"lr": 0.05}},
        resources=on(backend),
        **NEEDS.get(method, {}),
    )


@pytest.mark.slow_except("fdse", "ccst", "nmtune")
@pytest.mark.parametrize("method", METHODS)
def test_ray_and_this_process_give_the_same_bytes(
    method: str, tmp_path: Path, ray_here: None
) -> None:
    for backend in ("local", "ray"):
        assert simulate(chosen(method, backend), out=tmp_path / backend, progress=False).finished
    assert result(tmp_path / "local") == result(tmp_path / "ray")
