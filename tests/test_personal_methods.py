"""Methods that leave models, or parts of them, with the clients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlab.config import registry
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import Prepared, prepare
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.runs.run import load_run
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import assert_same, both, ragged
from helpers.method_rounds import CUT, assert_ends_alike
from helpers.running import on, result

METHODS: list[Any] = ["ditto", "fedper", "lg_fedavg", "fedproto", "local_only", "centralised"]
METHODS.append({"name": "fedrep", "head_epochs": 2})
CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
DEEP = {"name": "mlp", "hidden": [16, 12]}
FULL = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.2, "momentum": 0.5}}
HEAD, BODY = {"5.weight", "5.bias"}, {"1.weight", "1.bias", "3.weight", "3.bias"}
"""The tensors of a network like `DEEP`."""


# ---------------------------------------------------------------------- what travels

BASE = 4 * (108 + 16 + 288 + 32 + 576 + 32) + 3 * 8
"""Bytes of three convolutions 3x3 (3, 4, 8 and 8 channels) and their batch normalisations."""
LAST = 4 * (8 * 4 + 4)
"""Bytes of the dense layer."""


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("ditto", 3 * (BASE + LAST)),
        ("fedper", 3 * BASE),
        ({"name": "fedrep", "head_epochs": 1}, 3 * BASE),
        ("lg_fedavg", 3 * LAST),
        ({"name": "lg_fedavg", "layers": 3}, 3 * (LAST + 4 * (288 + 32 + 576 + 32) + 2 * 8)),
        ({"name": "fedper", "layers": 2}, 3 * (4 * (108 + 16 + 288 + 32) + 2 * 8)),
        ("local_only", 0),
        ("centralised", BASE + LAST),
    ],
    ids=str,
)
def test_bytes(method: Any, number: int, tmp_path: Path) -> None:
    chosen = toy.scenario(strategy=method, model=CNN, rounds=1)
    history = simulate(chosen, out=tmp_path / "run", progress=False).history
    traffic = history[history.split == "round"].set_index("metric").value
    assert traffic["bytes_up"] == number
    assert traffic["bytes_down"] == 2 * number  # for training, and for testing


# ---------------------------------------------------------------------- references in plain PyTorch


@dataclass
class ByHand:
    """A federation written out: every client has a module, some tensors are averaged.

    Attributes:
        prepared: Gives data, partition and the initial network.
        shared: Names of the tensors that are averaged after every round.
    """

    prepared: Prepared
    shared: Iterable[str]
    models: list[nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        clients = len(self.prepared.partition)
        self.models = [copy.deepcopy(self.prepared.model) for _ in range(clients)]

    def samples(self, client: int) -> tuple[Tensor, Tensor]:
        pool, rows = self.prepared.data.train, self.prepared.partition[client].train
        inputs = torch.from_numpy(pool.inputs[rows]).float() / 127.5 - 1
        return inputs, torch.from_numpy(pool.labels[rows])

    def round(self, train: Callable[[nn.Module, Tensor, Tensor], None]) -> None:
        for client, model in enumerate(self.models):
            train(model, *self.samples(client))
        states = [model.state_dict() for model in self.models]
        for name in self.shared:
            mean = torch.stack([state[name] for state in states]).mean(dim=0)
            for state in states:
                state[name].copy_(mean)


def passes(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    epochs: int = 2,
    names: Iterable[str] | None = None,
    penalty: Callable[[], Tensor] | None = None,
) -> None:
    """Full-batch SGD as `FULL` says, on some of the parameters."""
    chosen = [p for name, p in model.named_parameters() if names is None or name in names]
    optimizer = torch.optim.SGD(chosen, lr=0.2, momentum=0.5)
    for _ in range(epochs):
        model.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        (loss + penalty() if penalty else loss).backward()
        optimizer.step()


def assert_close(state: dict[str, Tensor], model: nn.Module) -> None:
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=2e-5, msg=name)


def trained_head_then_body(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    passes(model, inputs, labels, epochs=3, names=HEAD)
    passes(model, inputs, labels, epochs=2, names=BODY)


@pytest.mark.parametrize(
    ("strategy", "shared", "train"),
    [
        ({"name": "fedper"}, BODY, passes),
        ({"name": "fedper", "layers": 2}, {"1.weight", "1.bias"}, passes),
        ({"name": "fedrep", "head_epochs": 3}, BODY, trained_head_then_body),
        ({"name": "lg_fedavg"}, HEAD, passes),
        ({"name": "local_only"}, (), passes),
    ],
    ids=["fedper-1", "fedper-2", "fedrep", "lg_fedavg", "local_only"],
)
def test_three_rounds_are_those_written_out(
    strategy: dict, shared: Iterable[str], train: Callable, tmp_path: Path
) -> None:
    chosen = toy.scenario(strategy=strategy, model=DEEP, training=FULL, rounds=3)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    reference = ByHand(prepare(chosen), shared)
    for _ in range(3):
        reference.round(train)
    assert set(run.model_state()) == set(shared)
    for client, model in enumerate(reference.models):
        assert_close(run.model_state(client), model)


@pytest.mark.parametrize(
    ("strategy", "stays"),
    [
        ("fedbn", {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}),
        ("silobn", {"running_mean", "running_var", "num_batches_tracked"}),
    ],
    ids=["fedbn", "silobn"],
)
def test_three_rounds_with_normalisation_of_ones_own_are_those_written_out(
    strategy: str, stays: set[str], tmp_path: Path
) -> None:
    chosen = toy.scenario(strategy=strategy, model=CNN, training=FULL, rounds=3)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    network = prepared.model
    norms = [path for path, each in network.named_modules() if isinstance(each, nn.BatchNorm2d)]
    own = {f"{path}.{name}" for path in norms for name in stays}
    assert len(own) == 3 * len(stays)
    reference = ByHand(prepared, set(network.state_dict()) - own)
    for _ in range(3):
        reference.round(passes)
    assert set(run.model_state()) == set(reference.shared)
    for client, model in enumerate(reference.models):
        assert_close(run.model_state(client), model)


@pytest.mark.slow_except("as-long")
@pytest.mark.parametrize(
    ("own", "epochs"),
    [({}, 2), ({"personal_epochs": 3}, 3), ({"personal_steps": 1}, 1)],
    ids=["as-long", "epochs", "steps"],
)
def test_ditto_is_fedavg_and_a_penalised_model_beside_it(
    own: dict[str, int], epochs: int, tmp_path: Path
) -> None:
    chosen = toy.scenario(
        strategy={"name": "ditto", "lam": 0.7, **own}, model=DEEP, training=FULL, rounds=3
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    everything = ByHand(prepared, list(prepared.model.state_dict()))
    personal = ByHand(prepared, ())
    for _ in range(3):
        anchor = copy.deepcopy(everything.models[0])
        for client, model in enumerate(personal.models):

            def penalty(model: nn.Module = model, anchor: nn.Module = anchor) -> Tensor:
                pairs = zip(model.parameters(), anchor.parameters(), strict=True)
                return 0.35 * sum(((v - w.detach()) ** 2).sum() for v, w in pairs)  # type: ignore[return-value]

            passes(model, *personal.samples(client), epochs=epochs, penalty=penalty)
        everything.round(passes)
    assert_close(run.model_state(), everything.models[0])
    for client, model in enumerate(personal.models):
        assert_close(run.model_state(client), model)


@pytest.mark.slow
def test_ditto_without_penalty_is_local_training_and_fedavg(tmp_path: Path) -> None:
    runs = {
        name: simulate(
            toy.scenario(strategy=block, model=CNN, training=FULL),
            out=tmp_path / name,
            progress=False,
        )
        for name, block in [
            ("ditto", {"name": "ditto", "lam": 0}),
            ("local_only", "local_only"),
            ("fedavg", "fedavg"),
        ]
    }
    for name, value in runs["fedavg"].model_state().items():
        assert torch.equal(runs["ditto"].model_state()[name], value)
    for client in range(3):
        own = runs["ditto"].model_state(client)
        torch.testing.assert_close(
            own, runs["local_only"].model_state(client), rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_fedper_without_own_layers_is_fedavg(tmp_path: Path) -> None:
    for name, block in [("a", "fedavg"), ("b", {"name": "fedper", "layers": 0})]:
        simulate(toy.scenario(strategy=block), out=tmp_path / name, progress=False)
    assert result(tmp_path / "a") == result(tmp_path / "b")


@pytest.mark.parametrize(("method", "mean"), [("fedrep", 2.5), ("fedper", 1.75)])
def test_bodies_count_the_same_in_fedrep_and_by_examples_in_fedper(
    method: str, mean: float
) -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    strategy = registry.resolve("strategies", method)(model)
    strategy.initialise(model.state_dict())
    updates = [
        ClientUpdate(client, {"arrays": {"0.weight": torch.tensor([[value]])}}, {"num-examples": n})
        for client, value, n in ((0, 1.0, 3), (1, 4.0, 1))
    ]
    strategy.aggregate(1, updates)
    assert strategy.state["arrays"]["0.weight"].item() == mean


def test_in_a_phase_of_fedrep_only_its_part_learns() -> None:
    runtime = ragged(strategy="fedrep", model=CNN)
    head, body = runtime.trainer.phases()
    assert (head.epochs, body.epochs) == (10, 1)
    names = {name for name, _ in runtime.trainer.task.model.named_parameters()}
    assert names & set(head.trained or ()) == {"14.weight", "14.bias"}
    assert names & set(body.trained or ()) == names - {"14.weight", "14.bias"}


# ---------------------------------------------------------------------- whole runs


@pytest.mark.slow_except("fedper", "lg_fedavg", "fedproto")
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_clients_are_tested_with_the_models_they_keep(method: Any, tmp_path: Path) -> None:
    chosen = toy.scenario(strategy=method, model=CNN, evaluation={"every": 2})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    pool = prepared.data.test
    rows = run.history.query("split == 'test' and client >= 0 and round == 2")
    for client in range(len(prepared.partition)):
        model = prepared.model.eval()
        model.load_state_dict(run.model_state(client))
        own = prepared.partition[client].test
        with torch.no_grad():
            outputs = model(torch.from_numpy(pool.inputs[own]).float() / 127.5 - 1)
        loss = cross_entropy(outputs, torch.from_numpy(pool.labels[own]))
        mine = rows[(rows.client == client) & (rows.metric == "loss")]
        assert np.average(mine.value, weights=mine.examples) == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.slow  # test_engine interrupts every method; this is with a deeper network
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(method: Any, tmp_path: Path) -> None:
    assert_ends_alike(toy.scenario(strategy=method, model=DEEP, **CUT), tmp_path)


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
@pytest.mark.parametrize("method", ["ditto", "local_only"])
def test_on_ray_a_run_ends_in_the_same_bytes(method: str, tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        chosen = toy.scenario(strategy=method, model=DEEP, resources=on(backend))
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


@pytest.mark.slow_except("ditto", "local_only")
@pytest.mark.parametrize("method", ["local_only", "fedproto", "fedper", "ditto"])
def test_without_a_global_model_the_closing_table_has_the_clients_alone(
    method: str, tmp_path: Path
) -> None:
    run = simulate(toy.scenario(strategy=method, model=DEEP), out=tmp_path / "run", progress=False)
    console = Console(width=120)
    with console.capture() as shown:
        print_closing_table(load_run(run.folder), console)
    assert "client models" in shown.get()
    assert "global model" not in shown.get()
    assert "worst client" in shown.get()
    assert run.summary()["global_value"].isna().all()


@pytest.mark.slow_except("fedper", "lg_fedavg")
@pytest.mark.parametrize(
    "method",
    ["ditto", "fedper", {"name": "fedrep", "head_epochs": 2}, "lg_fedavg", "local_only"],
    ids=str,
)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: Any) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01, "momentum": 0.9}}
    runtime = ragged(strategy=method, model=CNN, training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)


@pytest.mark.slow_for("ditto-adam")
@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("method", ["ditto", {"name": "fedrep", "head_epochs": 1}], ids=str)
@pytest.mark.usefixtures("double")
def test_optimisers_start_anew_for_the_second_model_or_part(method: Any, name: str) -> None:
    training = {"batch_size": 8, "optimizer": {"name": name, "lr": 0.01}}
    assert_same(*both(ragged(strategy=method, model=DEEP, training=training)), 1e-9)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("strategy", "model", "words"),
    [
        ("fedper", "linear", ["fedper keeps local the last 1 layer(s)", "'linear' has 1"]),
        ("fedrep", "linear", ["nothing would be shared", "use a network with several layers"]),
        ({"name": "fedper", "layers": 4}, "small_cnn", ["has 4", "use at most 3", "local_only"]),
        ({"name": "fedrep", "layers": 9}, DEEP, ["the last 9 layer(s)", "use at most 2"]),
        (
            {"name": "lg_fedavg", "layers": 3},
            DEEP,
            ["nothing would be local", "strategy.name=fedavg"],
        ),
        ("fedproto", "linear", ["fedproto needs features", "mlp or small_cnn"]),
    ],
)
def test_networks_that_are_not_divided_are_refused(
    strategy: Any, model: Any, words: Sequence[str]
) -> None:
    with pytest.raises(InputError) as refused:
        prepare(toy.scenario(strategy=strategy, model=model))
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "fedper", "layers": -1},
        {"name": "fedrep", "layers": 0},
        {"name": "fedrep", "head_epochs": 0},
        {"name": "lg_fedavg", "layers": 0},
        {"name": "ditto", "lam": -0.1},
        {"name": "ditto", "personal_steps": 0},
        {"name": "fedproto", "lam": -1},
    ],
)
def test_parameters_out_of_range_are_refused(block: dict) -> None:
    with pytest.raises(ValueError, match="greater than"):
        toy.scenario(strategy=block)


def test_how_long_dittos_personal_model_is_trained_is_logged_once() -> None:
    with pytest.raises(ValueError, match="personal_epochs 2 would have no effect"):
        toy.scenario(strategy={"name": "ditto", "personal_epochs": 2, "personal_steps": 3})
