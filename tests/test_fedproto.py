"""FedProto: prototypes by hand, classes that some lack, and the term that draws to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlab.clients.base import ClientState, Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.run import load_run
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.fedproto import FedProto, FedProtoParameters
from helpers import toy
from helpers.cohorts import assert_same, ragged, runtime_of
from helpers.running import on, result

DEEP = {"name": "mlp", "hidden": [6]}
CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
FULL = {"batch_size": "full", "optimizer": {"lr": 0.1}}
KNOWN = {
    "prototypes": {
        "classes": torch.tensor([0, 2, 3]),
        "features": torch.arange(18.0).reshape(3, 6) / 10,
    }
}
"""Global prototypes of all classes but 1."""


def update(client: int, classes: list[int], counts: list[int], features: list) -> ClientUpdate:
    record = {
        "classes": torch.tensor(classes, dtype=torch.int64),
        "counts": torch.tensor(counts, dtype=torch.int64),
        "features": torch.tensor(features).reshape(len(classes), 2),
    }
    return ClientUpdate(client, {"prototypes": record}, {"num-examples": 9})


def server(**parameters: Any) -> FedProto:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4))
    strategy = FedProto(model, FedProtoParameters(**parameters))
    strategy.initialise(dict(model.state_dict()))
    return strategy


UPDATES = [
    update(0, [0, 3], [30, 1], [[1.0, 2.0], [5.0, 5.0]]),
    update(1, [0, 1], [10, 7], [[5.0, 6.0], [0.5, 0.0]]),
    update(2, [], [], []),
]


@pytest.mark.parametrize(
    ("weighting", "first"), [("examples", [2.0, 3.0]), ("uniform", [3.0, 4.0])]
)
def test_global_prototypes_by_hand(weighting: str, first: list[float]) -> None:
    strategy = server(weighting=weighting)
    assert strategy.broadcast(1) == {"arrays": {}}
    strategy.aggregate(1, UPDATES)
    sent = strategy.broadcast(2)["prototypes"]
    assert sent["classes"].tolist() == [0, 1, 3]
    assert sent["features"].tolist() == [first, [0.5, 0.0], [5.0, 5.0]]
    assert sent["features"].dtype is torch.float32


def test_classes_that_no_client_sent_in_a_round_keep_their_prototypes() -> None:
    strategy = server()
    strategy.aggregate(1, UPDATES)
    strategy.aggregate(2, [update(0, [2, 3], [4, 4], [[9.0, 9.0], [7.0, 7.0]])])
    assert strategy.state["prototypes"]["classes"].tolist() == [0, 1, 2, 3]
    features = strategy.state["prototypes"]["features"].tolist()
    assert features == [[2.0, 3.0], [0.5, 0.0], [9.0, 9.0], [7.0, 7.0]]
    strategy.aggregate(3, [update(2, [], [], [])])
    assert strategy.state["prototypes"]["features"].tolist() == features


# ---------------------------------------------------------------------- the client trainer


def body_of(model: nn.Module) -> nn.Module:
    """All of a network but its last layer."""
    return nn.Sequential(*list(model.children())[:-1])


def received(**records: Any) -> Received:
    return Received({"arrays": {}, **records}, {"server-round": 2, "rounds": 3})


def data_of(runtime: Runtime, client: int) -> tuple[Tensor, Tensor]:
    data = runtime.client_data(client)
    return data.inputs.float() / 127.5 - 1, data.labels


def by_classes(features: Tensor, labels: Tensor) -> Tensor:
    terms = []
    down = KNOWN["prototypes"]
    for label, prototype in zip(down["classes"].tolist(), down["features"], strict=True):
        if (labels == label).any():
            mine = features[labels == label].mean(dim=0)
            terms.append((mine - prototype.to(mine)).square().sum())
    return torch.stack(terms).sum()


def by_samples(features: Tensor, labels: Tensor) -> Tensor:
    down = KNOWN["prototypes"]
    known = dict(zip(down["classes"].tolist(), down["features"], strict=True))
    target = [known.get(int(y), x).to(x) for x, y in zip(features.detach(), labels, strict=True)]
    return nn.functional.mse_loss(features, torch.stack(target))


@pytest.mark.parametrize(("distance", "term"), [("classes", by_classes), ("samples", by_samples)])
def test_local_training_is_that_written_out(distance: str, term: Any) -> None:
    block = {"name": "fedproto", "lam": 0.3, "distance": distance}
    training = FULL | {"local_epochs": 3}
    runtime = runtime_of(strategy=block, model=DEEP, training=training)
    update, metrics = runtime.train(0, received(**KNOWN), {})

    model = prepare(runtime.scenario).model
    body, head = body_of(model), list(model.children())[-1]
    inputs, labels = data_of(runtime, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        features = body(inputs)
        (cross_entropy(head(features), labels) + 0.3 * term(features, labels)).backward()
        optimizer.step()
    torch.testing.assert_close(update.client_state["model"], dict(model.state_dict()))
    sent = update.arrays["prototypes"]
    assert list(update.arrays) == ["prototypes"]
    for label, count, prototype in zip(*(sent[name] for name in sent), strict=True):
        assert count == (labels == label).sum()
        torch.testing.assert_close(prototype, body(inputs[labels == label]).mean(dim=0).detach())
    assert metrics["steps"] == 3  # those of training; the pass only measures


def test_without_global_prototypes_the_first_round_is_ordinary_training() -> None:
    alone, proto = (
        runtime_of(strategy=name, model=DEEP, training=FULL) for name in ("local_only", "fedproto")
    )
    theirs = alone.train(0, received(), {})[0].client_state["model"]
    torch.testing.assert_close(proto.train(0, received(), {})[0].client_state["model"], theirs)


def test_only_classes_that_a_client_has_go_up() -> None:
    runtime = ragged(strategy="fedproto", model=DEEP)
    for client in range(len(runtime.partition)):
        data = runtime.client_data(client)
        known = data.labels[data.labelled]
        record = runtime.train(client, received(**KNOWN), {})[0].arrays["prototypes"]
        assert record["classes"].tolist() == known.unique().tolist()
        assert record["counts"].sum() == len(known)
        assert record["features"].shape == (len(record["classes"]), 6)


@pytest.mark.slow_except("mlp", "adam-cnn-classes")
@pytest.mark.parametrize("distance", ["classes", "samples"])
@pytest.mark.parametrize("model", [DEEP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(distance: str, model: dict, name: str) -> None:
    training = {"batch_size": 8, "optimizer": {"name": name, "lr": 0.02}}
    block = {"name": "fedproto", "distance": distance}
    runtime = ragged(strategy=block, model=model, training=training)
    assert runtime.trainer.supports_vmap
    clients = list(range(len(runtime.partition)))
    width = runtime.trainer.task.head.features
    down = {
        "classes": KNOWN["prototypes"]["classes"],
        "features": torch.linspace(0, 1, 3 * width).reshape(3, width).double(),
    }
    given = received(prototypes=down)
    states: list[ClientState] = [{} for _ in clients]
    for _ in range(2):
        alone = [runtime.train(k, given, state) for k, state in zip(clients, states, strict=True)]
        assert_same(alone, runtime.train_many(clients, given, states), 1e-9)
        states = [update.client_state for update, _ in alone]


# ---------------------------------------------------------------------- prediction by prototypes


def test_the_nearest_prototype_by_hand() -> None:
    runtime = runtime_of(strategy={"name": "fedproto", "prediction": "prototypes"}, model=DEEP)
    trainer = runtime.trainer
    model = trainer.evaluated_model(received(**KNOWN), {})
    features = torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    outputs = trainer.task.head.outputs(model, features)
    prototypes = KNOWN["prototypes"]["features"]
    squares = (features[:, None] - prototypes).square().sum(dim=2)
    expected = features.square().sum(dim=1, keepdim=True) - squares
    torch.testing.assert_close(outputs[:, [0, 2, 3]], expected, rtol=1e-5, atol=1e-5)
    assert (outputs[:, 1] < -1e8).all()  # a class without prototype
    plain = runtime_of(strategy="fedproto", model=DEEP).trainer
    assert torch.equal(
        plain.evaluated_model(received(**KNOWN), {})["3.weight"], plain.task.initial["3.weight"]
    )


def test_prototypes_go_down_for_tests_where_they_predict(tmp_path: Path) -> None:
    tested = {}
    for prediction in ("head", "prototypes"):
        block = {"name": "fedproto", "prediction": prediction}
        chosen = toy.scenario(strategy=block, model=DEEP, rounds=1)
        run = simulate(chosen, out=tmp_path / prediction, progress=False)
        counted = run.history.query("split == 'round'").set_index("metric").value
        assert counted["bytes_down"] == (prediction == "prototypes") * 3 * 4 * (6 * 4 + 8)
        rows = run.history.query("split == 'test' and metric == 'loss'")
        tested[prediction] = rows.value.tolist()
    assert tested["head"] != tested["prototypes"]
    assert load_run(tmp_path / "head").model_state(0)
    with pytest.raises(InputError, match="no client has a model by itself"):
        load_run(tmp_path / "prototypes").model_state(0)


def test_a_head_without_bias_has_no_place_for_distances() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4, bias=False))
    FedProtoParameters().check(toy.scenario(), model)
    with pytest.raises(InputError, match="has no bias"):
        FedProtoParameters(prediction="prototypes").check(toy.scenario(), model)


# ---------------------------------------------------------------------- whole runs

SKEWED = {
    "clients": 4,
    "domains": "mixed",
    "labels": {"name": "classes_per_client", "count": 2},
}


def test_bytes_are_those_of_the_classes_there_are(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedproto", model=DEEP, partition=SKEWED)
    history = simulate(chosen, out=tmp_path / "run", progress=False).history
    prototype, integer = 6 * 4, 8
    traffic = history[history.split == "round"].set_index(["round", "metric"]).value
    for server_round in (1, 2):
        assert traffic[server_round, "bytes_up"] == 4 * 2 * (prototype + 2 * integer)
    down = 4 * 4 * (prototype + integer)
    assert traffic[1, "bytes_down"] == 0  # there are none before training, and no test needs them
    assert traffic[2, "bytes_down"] == down


def test_the_server_ends_with_the_mean_of_what_the_clients_have(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedproto", model=CNN, partition=SKEWED, training=FULL)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    checkpoint = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    prepared = prepare(chosen)
    features: dict[int, list[Tensor]] = {}
    for client in range(4):
        model = prepared.model.eval()
        model.load_state_dict(run.model_state(client))
        rows = prepared.partition[client].train
        inputs = torch.from_numpy(prepared.data.train.inputs[rows]).float() / 127.5 - 1
        for label, vector in zip(
            prepared.data.train.labels[rows], body_of(model)(inputs).detach(), strict=True
        ):
            features.setdefault(int(label), []).append(vector)
    record = checkpoint.server["prototypes"]
    assert record["classes"].tolist() == sorted(features)
    for label, prototype in zip(record["classes"].tolist(), record["features"], strict=True):
        expected = torch.stack(features[label]).mean(dim=0)
        torch.testing.assert_close(prototype, expected, rtol=1e-4, atol=1e-5)
    assert checkpoint.server["arrays"] == run.model_state() == {}


def test_features_are_drawn_together_the_more_the_larger_the_weight(tmp_path: Path) -> None:
    def apart(lam: float) -> float:
        chosen = toy.scenario(strategy={"name": "fedproto", "lam": lam}, model=DEEP, rounds=5)
        run = simulate(chosen, out=tmp_path / str(lam), progress=False)
        prepared = prepare(chosen)
        means = []
        for client in range(3):
            prepared.model.load_state_dict(run.model_state(client))
            rows = prepared.partition[client].train
            inputs = torch.from_numpy(prepared.data.train.inputs[rows]).float() / 127.5 - 1
            outputs = body_of(prepared.model)(inputs).detach().numpy()
            labels = prepared.data.train.labels[rows]
            means.append([outputs[labels == label].mean(axis=0) for label in range(4)])
        return float(np.std(means, axis=0).mean())

    assert apart(3.0) < 0.5 * apart(0.0)


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
def test_on_ray_a_run_ends_in_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    for backend in ("local", "ray"):
        chosen = toy.scenario(strategy="fedproto", model=DEEP, resources=on(backend))
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


def test_its_server_half_can_be_built_from_a_scenario() -> None:
    prepared = prepare(toy.scenario(strategy={"name": "fedproto", "lam": 0.1}, model=CNN))
    strategy = build_strategy(prepared.scenario, prepared.model)
    assert isinstance(strategy, FedProto)
    assert strategy.shared == ()
    assert not strategy.has_global_model
