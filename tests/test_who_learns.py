"""Runs that could pass as results: nothing is learnt, code exits, random numbers lack a seed."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlab.errors import InputError, RunError
from fedlab.preparation import prepare
from fedlab.simulation import resume, simulate
from helpers.toy import scenario

NORMALISED = {"name": "helpers.randomly:normalised"}


def few(train: int, clients: int, **changes: Any) -> dict[str, Any]:
    """Three domains with so many training samples each, and as many test samples as clients."""
    source = {"name": "helpers.toy:Stripes", "train": train, "test": 4 * clients}
    return {
        "data": {"sources": [source], "image_size": 8},
        "partition": {"clients": clients},
        "model": NORMALISED,
        **changes,
    }


# ---------------------------------------------------------------------- who takes a step


def test_a_run_in_which_no_client_can_take_a_step_is_refused() -> None:
    with pytest.raises(InputError, match=r"none of the 12 clients can take a step.*model\.norm=gr"):
        prepare(scenario(**few(4, 12)))
    assert prepare(scenario(**few(4, 12, model={"name": "mlp", "hidden": [8], "norm": "none"})))


def test_who_cannot_take_a_step_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    prepare(scenario(**few(4, 10)))
    assert "8 of 10 clients can take no step and are tested without having learnt" in caplog.text
    assert "has a single training sample" in caplog.text


def test_a_method_whose_clients_take_no_steps_by_design_is_let_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strategy = {"name": "fedavg", "client": "helpers.randomly:Resting"}
    assert prepare(scenario(**few(4, 12, strategy=strategy)))
    assert "the method has no phases that learn: its clients take no steps" in caplog.text


def test_a_short_last_step_is_logged_where_clients_keep_what_they_learn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client has 40 samples: two batches of 19 and two samples."""
    training = {"batch_size": 19, "optimizer": {"lr": 0.05}}
    prepare(scenario(training=training))
    assert "of 3 clients end each pass" not in caplog.text  # a mean of models evens it out
    prepare(scenario(training={**training, "remainder": "merge"}, strategy="fedbn"))
    assert "of 3 clients end each pass" not in caplog.text
    prepare(scenario(training=training, strategy="fedbn"))
    assert "3 of 3 clients end each pass with a step on less than a quarter" in caplog.text


# ---------------------------------------------------------------------- code that leaves


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"strategy": {"name": "fedavg", "client": "helpers.randomly:Leaving"}}, "SystemExit"),
        ({"strategy": "helpers.randomly:LeavingStrategy"}, r"called sys\.exit"),
        ({"model": "helpers.randomly:leaving_network"}, r"called sys\.exit"),
    ],
)
def test_code_that_exits_is_a_failure(fields: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises((RunError, InputError), match=what):
        simulate(scenario(**fields), out=tmp_path / "run", progress=False)


# ---------------------------------------------------------------------- global generators

RANDOM: dict[str, Any] = {
    "model": "helpers.randomly:noisy",
    "strategy": "helpers.randomly:Sampling",
}


def model_of(folder: Path, **fields: Any) -> bytes:
    simulate(scenario(**RANDOM, **fields), out=folder, progress=False)
    return (folder / "model.safetensors").read_bytes()


def test_networks_and_methods_that_draw_for_themselves_are_reproducible(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    first = model_of(tmp_path / "a")
    random.seed(2)
    np.random.seed(2)
    torch.manual_seed(2)
    assert model_of(tmp_path / "b") == first
    assert model_of(tmp_path / "c", seed=1) != first
    simulate(scenario(**RANDOM, rounds=1), out=tmp_path / "d", progress=False)
    resume(tmp_path / "d", ["rounds=2"], progress=False)
    assert (tmp_path / "d" / "model.safetensors").read_bytes() == first


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_on_ray_they_draw_the_same(tmp_path: Path) -> None:
    assert model_of(tmp_path / "a") == model_of(tmp_path / "b", resources={"backend": "ray"})


def test_a_run_leaves_the_processes_generators_as_they_were(tmp_path: Path) -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    model_of(tmp_path / "a")
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_two_runs_in_threads_are_what_each_would_be_alone(tmp_path: Path) -> None:
    def run(folder: str, seed: int) -> bytes:
        return model_of(tmp_path / folder, seed=seed)

    alone = [run(f"alone-{seed}", seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, ("t0", "t1", "t2"), range(3)))
    assert together == alone


@pytest.mark.slow
def test_networks_made_in_threads_are_what_each_would_be_alone() -> None:
    def first_and_last(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        state = prepare(scenario(model="resnet20", seed=seed)).model.state_dict()
        return state["conv1.weight"], state["fc.weight"]

    alone = [first_and_last(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(first_and_last, range(2)))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
