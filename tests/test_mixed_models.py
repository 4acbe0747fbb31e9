"""FedRoD and FedALA: clients whose model is made of their own and everybody's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab.clients.base import ClientState, Received
from fedlab.clients.fedala import FedALA
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.runs.checkpoint import load_client_state
from fedlab.simulation import simulate
from fedlab.training.task import Batch
from helpers import toy
from helpers.cohorts import assert_same, both, ragged, received, runtime_of
from helpers.running import on, result

DEEP = {"name": "mlp", "hidden": [16, 12]}
CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
FULL = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.2, "momentum": 0.5}}
HEAD = ("5.weight", "5.bias")
"""The last layer of a network like `DEEP`."""
SKEWED = {"clients": 3, "labels": {"name": "classes_per_client", "count": 2}}


def images_of(runtime: Runtime, client: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    data = runtime.client_data(client)
    return runtime.preprocess.inputs(data.inputs), data.labels


# ---------------------------------------------------------------------- FedRoD


@pytest.mark.parametrize("start", ["zero", "copy"])
@pytest.mark.usefixtures("double")
def test_fedrod_is_that_of_plain_pytorch(start: str) -> None:
    block = {"name": "fedrod", "start": start}
    runtime = runtime_of(strategy=block, model=DEEP, training=FULL, partition=SKEWED)
    images, labels = images_of(runtime)
    model = copy.deepcopy(runtime.trainer.task.model)
    *body, generic = model.children()
    own = copy.deepcopy(generic)
    if start == "zero":
        for tensor in own.parameters():
            torch.nn.init.zeros_(tensor)
    counts = torch.bincount(labels, minlength=4).double()
    state: ClientState = {}
    for _ in range(2):  # the personal head goes on in the second round, its momentum does not
        down = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        update, _ = runtime.train(0, Received({"arrays": down}, {"server-round": 1}), state)
        state = update.client_state
        optimizers = [
            torch.optim.SGD(part.parameters(), lr=0.2, momentum=0.5) for part in (model, own)
        ]
        for _ in range(2):
            features = torch.nn.Sequential(*body)(images)
            outputs = generic(features)
            personal = outputs.detach() + own(features.detach())
            model.zero_grad()
            own.zero_grad()
            adjusted = outputs + counts.clamp(min=1e-9).log()
            (cross_entropy(adjusted, labels) + cross_entropy(personal, labels)).backward()
            for optimizer in optimizers:
                optimizer.step()
        torch.testing.assert_close(
            update.arrays["arrays"], model.state_dict(), rtol=1e-5, atol=1e-6
        )
        mine = dict(zip(HEAD, own.parameters(), strict=True))
        torch.testing.assert_close(
            state["personal"], {n: t.detach() for n, t in mine.items()}, rtol=1e-5, atol=1e-6
        )


def test_the_generic_loss_by_hand() -> None:
    """n = (8, 2) and equal outputs: ln 5 for the rare class; nothing for the personal head."""
    trainer = runtime_of(strategy="fedrod", model=DEEP).trainer
    stats = client_stats_of(trainer, runtime_of(strategy="fedrod", model=DEEP).client_data(0))
    counts = torch.tensor([8, 2, 0, 0])
    down = {name: torch.zeros_like(t) for name, t in trainer.task.model.state_dict().items()}
    carry = trainer.begin(Received({"arrays": down}), {}, stats._replace(class_counts=counts))
    batch = Batch(torch.zeros(1, 3, 8, 8), torch.tensor([1]), torch.tensor([0]))
    loss, outputs = trainer.objective(carry.parameters, carry, batch)
    assert loss.item() == pytest.approx(1.609438 + 1.386294, abs=1e-5)  # and ln 4, the personal one
    assert outputs.tolist() == [[0, 0, 0, 0]]


def test_both_predictions_are_tested(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedrod", model=CNN, partition=SKEWED, evaluation={"every": 2})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    model, pool = prepared.model.eval(), prepared.data.test
    tests = run.history.query("split == 'test' and round == 2 and metric == 'loss'")

    def loss(state: Tensors, rows: Any) -> float:
        model.load_state_dict(state)
        with torch.no_grad():
            outputs = model(torch.from_numpy(pool.inputs[rows]).float() / 127.5 - 1)
        return cross_entropy(outputs, torch.from_numpy(pool.labels[rows])).item()

    generic = run.model_state()
    for domain in range(3):
        row = tests[(tests.client == -1) & (tests.domain == f"d{domain}")]
        assert row.value.item() == pytest.approx(loss(generic, pool.domains == domain), rel=1e-4)
    for client in range(3):
        personal = load_client_state(tmp_path / "run" / "checkpoints", client)["personal"]
        summed = {name: generic[name] + personal.get(name, 0) for name in generic}
        torch.testing.assert_close(run.model_state(client), summed)
        rows = tests[tests.client == client]
        expected = loss(summed, prepared.partition[client].test)
        assert rows.value.mean() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "block", [{"name": "fedrod"}, {"name": "fedrod", "start": "copy"}], ids=str
)
@pytest.mark.usefixtures("double")
def test_fedrod_together_is_one_by_one(block: dict[str, Any]) -> None:
    training = {"batch_size": 8, "optimizer": {"name": "adam", "lr": 0.01}}
    runtime = ragged(strategy=block, model=CNN, training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)


def test_fedrod_refuses_a_frozen_head() -> None:
    model = "helpers.odd_networks:FrozenHead"
    with pytest.raises(InputError, match="fedrod trains two heads"):
        prepare(toy.scenario(strategy="fedrod", model=model))


def test_fedrod_refuses_a_loss_that_it_would_not_heed() -> None:
    with pytest.raises(InputError, match="fedrod has its own loss"):
        prepare(toy.scenario(strategy="fedrod", training={"loss": "balanced_softmax"}))


# ---------------------------------------------------------------------- FedALA


def mixing(old: float, towards: float, weight: float) -> Any:
    """A trainer, and a carry of which only the head's tensors matter, all of one value each."""
    runtime = runtime_of(strategy={"name": "fedala", "eta": 1.0}, model=DEEP)
    trainer = runtime.trainer
    state = {n: t.clone() for n, t in trainer.task.model.state_dict().items()}
    for name in HEAD:
        state[name].fill_(old + towards)
    client_state = {
        "last": {name: torch.full_like(state[name], old) for name in HEAD},
        "weights": {name: torch.full_like(state[name], weight) for name in HEAD},
    }
    stats = client_stats_of(trainer, runtime.client_data(0))
    return trainer, trainer.begin(Received({"arrays": state}), client_state, stats)


@pytest.mark.parametrize(
    ("slope", "weight", "mixture"),
    [(0.2, 0.6, 2.2), (-0.2, 1.0, 3.0), (0.7, 0.0, 1.0)],  # 1 - 2·0.2; clipped above and below
)
def test_a_step_of_the_weights_by_hand(
    slope: float, weight: float, mixture: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, carry = mixing(old=1.0, towards=2.0, weight=1.0)
    assert isinstance(trainer, FedALA)
    batch = Batch(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), torch.arange(2))

    def gradients(self: Any, objective: Any, at: Tensors, buffers: Tensors) -> Any:
        _, outputs = objective(at, buffers)
        return {name: torch.full_like(t, slope) for name, t in at.items()}, outputs.sum(), outputs

    monkeypatch.setattr(type(trainer.task), "gradients", gradients)
    body = carry.parameters["1.weight"].clone()
    trainer.mix(carry, batch, 2)
    for name in HEAD:
        assert carry.extra["weights"][name].flatten()[0].item() == pytest.approx(weight)
        assert carry.parameters[name].flatten()[0].item() == pytest.approx(mixture)
    assert torch.equal(carry.parameters["1.weight"], body)


def test_a_client_starts_from_its_mixture_and_takes_the_body_as_it_comes() -> None:
    trainer, carry = mixing(old=1.0, towards=2.0, weight=0.25)
    assert all((carry.parameters[name] == 1.5).all() for name in HEAD)
    initial = trainer.task.model.state_dict()["1.weight"]
    assert torch.equal(carry.parameters["1.weight"], initial)


def settled(losses: list[float], **parameters: Any) -> int:
    """Passes of a first mixing whose last batches have these losses."""
    block = {"name": "fedala", "window": 3, "most_passes": 8, **parameters}
    runtime = runtime_of(strategy=block, model=DEEP)
    trainer: Any = runtime.trainer
    state = dict(trainer.task.model.state_dict())
    last = {name: state[name] for name in HEAD}
    stats = client_stats_of(trainer, runtime.client_data(0))
    carry = trainer.begin(Received({"arrays": state}), {"last": last}, stats)
    for number, loss in enumerate(losses, start=1):
        carry.extra["progress"]["losses"][-1] = loss
        if not trainer.unsettled(carry):
            return number
    return -1


def test_the_first_mixing_goes_on_until_losses_stand_still_or_passes_run_out() -> None:
    assert settled([9, 5, 1, 0.5, 0.45, 0.4, 0.4]) == 6  # the last three are within 0.1
    assert settled([1.0] * 9) == 4  # more than the window
    assert settled([1, 9] * 5) == 8
    assert settled([1.0, 1.1, 1.2, 1.3], threshold=0.09) == 4  # deviation 0.0816, not 0.1


def test_a_later_mixing_is_one_pass_and_the_first_round_none(tmp_path: Path) -> None:
    block = {"name": "fedala", "window": 2, "threshold": 1e-9, "most_passes": 3}
    training = {"batch_size": 16, "optimizer": {"lr": 0.05}}
    chosen = toy.scenario(strategy=block, model=DEEP, training=training, rounds=4)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    passes = run.history.query("split == 'train' and metric == 'mixing_passes'")
    assert passes.groupby("round").value.unique().map(list).to_dict() == {
        1: [0],
        2: [3],
        3: [1],
        4: [1],
    }
    steps = run.history.query("split == 'train' and metric == 'steps' and client == 0")
    assert (steps.value == 2 + 3).all()  # 32 of 40 samples, then all of them


def test_it_is_tested_with_the_mixture_of_what_came_down() -> None:
    trainer, _ = mixing(old=1.0, towards=2.0, weight=1.0)
    state = {n: torch.full_like(t, 3.0) for n, t in trainer.task.model.state_dict().items()}
    last = {name: torch.full_like(state[name], 1.0) for name in HEAD}
    weights = {name: torch.full_like(state[name], 0.75) for name in HEAD}
    down = Received({"arrays": state})
    tested = trainer.evaluated_model(down, {"last": last, "weights": weights})
    assert {name: t.flatten()[0].item() for name, t in tested.items()} == {
        name: 2.5 if name in HEAD else 3.0 for name in state
    }
    assert trainer.evaluated_model(down, {"last": last}) == state
    assert trainer.evaluated_model(down, {}) == state


def test_a_client_s_model_is_the_one_that_was_tested(tmp_path: Path) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.3}, "local_epochs": 2}
    chosen = toy.scenario(strategy="fedala", model=DEEP, training=training, rounds=3)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    model, pool = prepared.model.eval(), prepared.data.test
    tests = run.history.query("split == 'test' and round == 3 and metric == 'loss'")
    for client in range(3):
        state = run.model_state(client)
        assert not torch.equal(state["5.weight"], run.model_state()["5.weight"])
        model.load_state_dict(state)
        own = prepared.partition[client].test
        with torch.no_grad():
            outputs = model(torch.from_numpy(pool.inputs[own]).float() / 127.5 - 1)
        loss = cross_entropy(outputs, torch.from_numpy(pool.labels[own]))
        assert tests[tests.client == client].value.mean() == pytest.approx(loss.item(), rel=1e-4)


def test_statistics_are_those_that_came_down() -> None:
    runtime = runtime_of(strategy="fedala", model=CNN)
    plain = runtime_of(strategy="fedavg", model=CNN)
    ours, theirs = (one.train(0, received(one), {})[0].arrays["arrays"] for one in (runtime, plain))
    assert ours["1.num_batches_tracked"] == theirs["1.num_batches_tracked"]


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
@pytest.mark.parametrize("method", ["fedala", "fedrod"])
def test_on_ray_a_run_ends_in_the_same_bytes(method: str, tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        chosen = toy.scenario(strategy=method, model=DEEP, resources=on(backend), rounds=3)
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")
