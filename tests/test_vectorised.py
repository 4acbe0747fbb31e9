"""Clients trained together: the same numbers as one by one, for every method and network."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import vmap

from fedlab.clients.base import Received
from fedlab.engine.execution import vmapped
from fedlab.engine.execution.mode import from_rule
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.start import start_grid
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.records import Tensors, to_record
from fedlab.scenario import EngineSpec, Scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import resume, simulate
from fedlab.training.nested_gradients import value_and_gradients_nested
from helpers import toy
from helpers.cohorts import METHODS, MODELS, SIZES, assert_same, both, ragged, runtime_of
from helpers.running import At, on, result

CPU_IS_FULL = "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
NORMALISED = ("cnn-batch", "cnn-group", "resnet20")
PAIRS = [
    (method, model)
    for method in METHODS
    for model in MODELS
    if method in ("fedavg", "fedprox") or model in NORMALISED
    if (method, model) != ("silobn", "cnn-group")
]


@pytest.mark.slow_for("resnet20")
@pytest.mark.parametrize(("method", "model"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str, model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    runtime = runtime_of(train=24, strategy=METHODS[method], model=MODELS[model], training=training)
    assert runtime.trainer.supports_vmap
    alone, together = both(runtime)
    assert_same(alone, together, 1e-9)
    weights = [next(iter(update.arrays["arrays"].values())) for update, _ in together]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_gradients_in_a_stack_are_those_of_pytorch() -> None:
    def objective(at: Tensors, buffers: Tensors) -> tuple[torch.Tensor, Any]:
        buffers["seen"].add_(1)
        hidden = torch.tanh(buffers["inputs"] @ at["in"])
        return (hidden @ at["out"]).square().mean(), (hidden.sum(0), {"all": hidden.sum()})

    def given() -> tuple[Tensors, Tensors]:
        torch.manual_seed(0)
        at = {"in": torch.randn(3, 4, 5), "out": torch.randn(3, 5), "unused": torch.randn(3, 2)}
        return at, {"inputs": torch.randn(3, 7, 4), "seen": torch.zeros(3)}

    (at, here), (_, there) = given(), given()
    gradients, value, extra = vmap(partial(value_and_gradients_nested, objective))(at, here)
    wanted = vmap(torch.func.grad_and_value(objective, has_aux=True))(at, there)
    torch.testing.assert_close((gradients, (value, extra)), wanted, rtol=0, atol=0)
    assert here["seen"].tolist() == there["seen"].tolist() == [1, 1, 1]
    assert not value.requires_grad


TRAINING = {
    "momentum": {"optimizer": {"lr": 0.01, "momentum": 0.9, "nesterov": True}},
    "decay-clip": {"optimizer": {"lr": 0.1, "weight_decay": 0.1, "clip_norm": 0.05}},
    "adam": {"optimizer": {"name": "adam", "lr": 0.01, "weight_decay": 0.1}},
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1, "lr_decay": 0.5}},
    "epochs": {"local_epochs": 3, "optimizer": {"lr": 0.05}},
    "steps": {"local_steps": 7, "optimizer": {"lr": 0.05}},
    "full": {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.05}},
}


class Dense(ModelSpec):
    """Batch normalisation of dense features, of which a single sample has none."""

    name: str = "test_vectorised:Dense"

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        layers = nn.Linear(math.prod(input_shape), 8), nn.BatchNorm1d(8), nn.Linear(8, classes)
        return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.usefixtures("double")
def test_a_single_sample_that_cannot_be_normalised_is_no_step() -> None:
    runtime = ragged(model={"name": "test_vectorised:Dense"})
    alone, together = both(runtime)
    assert_same(alone, together, 1e-9)
    (single,) = (k for k, size in enumerate(SIZES) if size == 1)
    update, metrics = alone[single]
    assert metrics == {"num-examples": 0, "steps": 0}
    start = runtime.trainer.task.model.state_dict()
    assert all(torch.equal(tensor, start[n]) for n, tensor in update.arrays["arrays"].items())


@pytest.mark.slow_except("ragged")
@pytest.mark.parametrize("training", TRAINING.values(), ids=TRAINING.keys())
@pytest.mark.parametrize("clients", ["equal", "ragged"])
@pytest.mark.usefixtures("double")
def test_every_way_of_training_is_one_by_one(clients: str, training: dict) -> None:
    build = ragged if clients == "ragged" else runtime_of
    # Not FedAvg, whose dense networks train side by side.
    runtime = build(strategy=METHODS["fedprox"], training={"batch_size": 10} | training)
    assert_same(*both(runtime), 1e-9)


@pytest.mark.slow_except("fedbn")
@pytest.mark.parametrize("method", ["fedprox", "fedbn", "silobn", "fedwon"])
@pytest.mark.usefixtures("double")
def test_ragged_clients_keep_their_own_statistics(method: str) -> None:
    training = {"batch_size": 8, "local_epochs": 2, "optimizer": {"lr": 0.01}}
    runtime = ragged(strategy=METHODS[method], model=MODELS["cnn-batch"], training=training)
    assert_same(*both(runtime), 1e-9)


@pytest.mark.parametrize("build", [runtime_of, ragged])
@pytest.mark.usefixtures("double")
def test_augmentation_is_each_clients_own(build: Callable[..., Runtime]) -> None:
    changes: dict[str, Any] = {
        "rotation": 15.0,
        "crop_padding": 2,
        "flip": True,
        "brightness": 0.3,
        "contrast": 0.3,
    }
    data = {"sources": ["helpers.toy:Stripes"], "image_size": 8, "augmentation": changes}
    alone, together = both(build(data=data, training={"batch_size": 10}))
    assert_same(alone, together, 1e-6)  # positions of pixels are computed in single precision
    plain, _ = both(build(training={"batch_size": 10}))
    assert alone[0][1]["loss"] != plain[0][1]["loss"]


@pytest.mark.parametrize("model", ["mlp", "cnn-batch"])
def test_single_precision_differs_by_rounding_only(model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    assert_same(*both(ragged(model=MODELS[model], training=training), rounds=1), 1e-5)


def test_received_tensors_are_not_written_to_and_states_are_not_shared() -> None:
    runtime = runtime_of(strategy="fedbn", model=MODELS["cnn-batch"])
    down = {n: runtime.trainer.task.model.state_dict()[n].clone() for n in runtime.trainer.shared}
    before = {name: tensor.clone() for name, tensor in down.items()}
    received = Received({"arrays": down}, {"server-round": 1})
    results = runtime.train_many([0, 1], received, [{}, {}])
    assert all(torch.equal(down[name], before[name]) for name in down)
    for tensor in results[0][0].client_state["model"].values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_networks_that_draw_random_numbers_and_methods_with_their_own_step_are_refused() -> None:
    trainer = runtime_of().trainer
    assert trainer.supports_vmap
    trainer.task.model.append(nn.Dropout(0.0))
    assert trainer.supports_vmap
    trainer.task.model.append(nn.Dropout(0.5))
    assert not trainer.supports_vmap
    assert not runtime_of(
        strategy={"name": "fedavg", "client": "helpers.failing:SlowOnce"}
    ).trainer.supports_vmap


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), MemoryError(), RuntimeError(CPU_IS_FULL)]
)
def test_a_stack_that_does_not_fit_is_halved(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, tried = runtime_of(strategy=METHODS["fedprox"]), []
    train_many = vmapped.train_many

    def small_memory(*args: Any, clients: Sequence[int], **fields: Any) -> list:
        tried.append(len(clients))
        if len(clients) > 1:
            raise error
        return train_many(*args, clients=clients, **fields)

    monkeypatch.setattr(vmapped, "train_many", small_memory)
    assert_same(*both(runtime, rounds=1))
    assert tried == [4, 2, 1, 1, 2, 1, 1]


def test_an_error_of_the_method_is_not_taken_for_a_lack_of_memory() -> None:
    runtime = runtime_of()
    state = runtime.trainer.task.model.state_dict()
    wrong = Received({"arrays": {name: tensor[:1] for name, tensor in state.items()}})
    with pytest.raises(RuntimeError, match="size"):
        runtime.train_many([0, 1], wrong, [{}, {}])


# ---------------------------------------------------------------------- the choice


DENSE = {"name": "mlp", "hidden": [16]}


@pytest.mark.parametrize(
    ("engine", "model", "device", "cohort", "stack"),
    [
        ({}, DENSE, "cpu", 50, 32),
        ({"stack_size": 10}, DENSE, "cpu", 50, 10),
        ({}, DENSE, "cpu", 5, 1),
        ({}, {"name": "mlp", "hidden": [2000]}, "cpu", 50, 10),
        ({}, {"name": "mlp", "hidden": [2000, 2000]}, "cpu", 50, 1),
        ({}, {"name": "small_cnn"}, "cpu", 50, 1),
        ({}, {"name": "small_cnn"}, "cuda", 50, 32),
        ({"execution": "vmap"}, {"name": "small_cnn"}, "cpu", 5, 32),
        ({"execution": "sequential"}, DENSE, "cuda", 50, 1),
    ],
)
def test_the_rule(engine: dict, model: dict, device: str, cohort: int, stack: int) -> None:
    trainer = runtime_of(model=model).trainer
    assert from_rule(EngineSpec(**engine), trainer, device, cohort).stack == stack


def test_measured_times_both_ways_once_and_says_which_won(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    chosen = toy.scenario(model=DENSE, engine={"execution": "measured"})
    with caplog.at_level("INFO", "fedlab"):
        simulate(chosen, out=tmp_path / "a", progress=False)
        (kept,) = (tmp_path / "cache" / "execution").iterdir()
        kept.write_text(json.dumps({"sequential": 2.0, "vmap": 1.0}))
        simulate(chosen, out=tmp_path / "b", progress=False)
        kept.write_text(json.dumps({"sequential": 1.0, "vmap": 2.0}))
        simulate(chosen, out=tmp_path / "c", progress=False)
    first, *others = [line for line in caplog.messages if line.startswith("training")]
    assert "3 as one took" in first
    assert others == [
        "training up to 32 clients as one (3 as one took 1.000 s, and 2.000 s one by one)",
        "training clients one by one (3 as one took 2.000 s, and 1.000 s one by one)",
    ]


# ---------------------------------------------------------------------- whole runs


def together(**changes: Any) -> Scenario:
    engine = {"execution": "vmap", "stack_size": 2}
    return toy.scenario(**{"engine": engine, "strategy": "fedbn", "rounds": 3} | changes)


def test_a_run_as_one_ends_where_one_by_one_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fedlab")
    ends = []
    for how in ("sequential", "vmap"):
        chosen = toy.scenario(model=DENSE, engine={"execution": how})
        ends.append(simulate(chosen, out=tmp_path / how, progress=False).model_state())
    assert "training up to 32 clients as one (the scenario says so)" in caplog.messages
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    simulate(together(), out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(together(), out=tmp_path / "cut", callbacks=[At(2, interrupt)], progress=False)
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


def test_a_client_that_raises_fails_alone(tmp_path: Path) -> None:
    chosen = together(
        strategy={"name": "fedavg", "client": "helpers.failing:FailsInAStack"},
        participation={"max_failed_share": 0.4},
        engine={"execution": "vmap"},
        rounds=1,
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    rows = run.history[run.history.split == "train"]
    assert sorted(set(rows.client)) == [0, 1]


@pytest.mark.slow  # test_engine kills an actor that trains one client after another
def test_a_killed_actor_changes_nothing(tmp_path: Path, ray_here: None) -> None:
    prepared = prepare(together(resources=on("ray")))

    def rounds(kill: bool) -> dict[str, torch.Tensor]:
        grid, _ = start_grid(prepared.scenario, prepared.data, prepared.partition)
        with grid:
            strategy = build_strategy(prepared.scenario, prepared.model)
            end = At(1, lambda: os.kill(grid.actor_pids[0], signal.SIGKILL))
            strategy.start(
                grid,
                to_record(prepared.model.state_dict()),
                num_rounds=3,
                callbacks=[end] if kill else [],
            )
            return strategy.state["arrays"]

    shared, shared_again = rounds(kill=False), rounds(kill=True)
    assert all(torch.equal(shared[name], shared_again[name]) for name in shared)
