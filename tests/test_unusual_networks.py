"""Networks with unusual tensors, arguments and side effects: right, or refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from helpers import toy
from helpers.plain_pytorch import round_of_fedavg


def scenario(name: str, rounds: int = 1, **fields: Any) -> Scenario:
    base = toy.scenario(
        data={
            "sources": [{"name": "helpers.toy:Stripes", "domains": 2, "train": 24}],
            "image_size": 8,
        },
        partition={"clients": 2},
        rounds=rounds,
        training={"batch_size": "full", "local_steps": 4, "optimizer": {"lr": 0.2}},
    )
    return load_scenario(base, model=f"helpers.unusual_networks:{name}", **fields)


def simulated(chosen: Scenario, folder: Path) -> Run:
    return fedlab.simulate(chosen, out=folder, progress=False)


@pytest.mark.parametrize(
    "name", ["InfiniteMask", "Rotating", "Differentiating", "Bounded", "Activated"]
)
def test_a_round_is_that_of_plain_pytorch(name: str, tmp_path: Path) -> None:
    chosen = scenario(name)
    wanted, got = round_of_fedavg(chosen), simulated(chosen, tmp_path / "run").model_state()
    for tensor, value in wanted.items():
        if tensor in got:  # those that stay as they are do not travel
            torch.testing.assert_close(got[tensor], value, atol=1e-5, rtol=1e-4, msg=tensor)


def test_tests_do_not_write_to_what_is_trained(tmp_path: Path) -> None:
    often, once = (
        simulated(scenario("Bounded", 3, evaluation={"every": every}), tmp_path / str(every))
        for every in (1, 3)
    )
    for name, tensor in often.model_state().items():
        assert torch.equal(tensor, once.model_state()[name]), name


def test_a_network_with_an_infinite_mask_starts_from_its_own_run(tmp_path: Path) -> None:
    run = simulated(scenario("InfiniteMask"), tmp_path / "run")
    (mask,) = (b for name, b in run.model().named_buffers() if name.endswith("mask"))
    assert mask.isneginf().sum() == 1
    chosen = scenario("InfiniteMask")
    weights = {"name": "helpers.unusual_networks:InfiniteMask", "weights": str(tmp_path / "run")}
    again = prepare(load_scenario(chosen, model=weights)).model
    assert torch.equal(again.m.weight, run.model_state()["m.weight"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CountingTests", r"changes 'seen' in evaluation mode.*\(if self.training\)"),
        ("Squeezing", r"of shape \(4,\) for 1 sample.*squeeze\(-1\)"),
        ("Unset", "'spare' has initial values that are not finite"),
        ("SparseTable", "'table' has sparse gradients.*sparse=False"),
        ("OtherEachTime", "other values of 'm.weight' each time that it is made"),
    ],
)
def test_what_cannot_be_right_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(scenario(name))
