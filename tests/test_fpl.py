"""FPL: clusters by first neighbours, both terms by hand, and a client's round in plain PyTorch."""

from __future__ import annotations

import copy
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from fedlab.clients import fpl
from fedlab.clients.base import ClientState, Received
from fedlab.clients.families.prototypes import with_means
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.finch import cluster_labels, cluster_means, finch
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.simulation import simulate
from fedlab.strategies.fpl import FPL, FPLParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Task
from helpers import toy
from helpers.cohorts import MODELS, assert_same, ragged, runtime_of

DEEP = {"name": "mlp", "hidden": [6]}
FULL = {"batch_size": "full", "optimizer": {"lr": 0.1}}


def at_angles(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


# ---------------------------------------------------------------------- first neighbours


@pytest.mark.parametrize(
    ("angles", "clusters"),
    [
        ([0, 10, 100, 110], [0, 0, 1, 1]),
        ([0, 10, 25], [0, 0, 0]),
        ([0, 90], [0, 0]),  # two points are each other's nearest
        ([0, 100, 10, 110, 200, 205], [0, 1, 0, 1, 2, 2]),
        ([30], [0]),
    ],
)
def test_first_neighbours_by_hand(angles: list[float], clusters: list[int]) -> None:
    assert finch(at_angles(*angles))[0].tolist() == clusters


def test_means_are_clustered_again_and_the_coarsest_of_several_clusters_is_taken() -> None:
    # Pairs at 0 and 12, 30 and 42, 120 and 132, 150 and 162: their means join two by two.
    points = at_angles(0, 12, 30, 42, 120, 132, 150, 162)
    hierarchy = [labels.tolist() for labels in finch(points)]
    assert hierarchy == [[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1], [0] * 8]
    assert cluster_labels(points).tolist() == hierarchy[1]
    assert cluster_labels(points, "first").tolist() == hierarchy[0]
    assert cluster_labels(at_angles(0, 10, 25)).tolist() == [0, 0, 0]
    torch.testing.assert_close(
        cluster_means(points, cluster_labels(points))[0], points[:4].mean(dim=0)
    )


def test_lengths_do_not_matter_to_clusters() -> None:
    points = at_angles(0, 10, 100, 110) * torch.tensor([[1.0], [50.0], [3.0], [0.1]])
    assert cluster_labels(points).tolist() == [0, 0, 1, 1]


# ---------------------------------------------------------------------- the server


def sent(client: int, classes: list[int], features: Any, weight: float, examples: int):
    record = {
        "classes": torch.tensor(classes, dtype=torch.int64),
        "features": torch.as_tensor(features).float().reshape(len(classes), 2),
    }
    model = {"0.weight": torch.full((2, 3), weight)}
    arrays = {"arrays": model | STILL, "prototypes": record}
    return ClientUpdate(client, arrays, {"num-examples": examples})


NETWORK = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4))
STILL = {n: t.detach() for n, t in NETWORK.state_dict().items() if n != "0.weight"}
LOOKS = at_angles(0, 10, 100, 110)


def test_the_server_clusters_class_by_class_and_averages_models_by_examples() -> None:
    strategy = FPL(NETWORK, FPLParameters())
    strategy.initialise(dict(NETWORK.state_dict()))
    assert set(strategy.broadcast(1)) == {"arrays"}
    updates = [sent(k, [0], 3 * LOOKS[k], float(k), 30 if k == 3 else 10) for k in range(4)]
    updates[1] = sent(1, [0, 2], torch.stack([3 * LOOKS[1], torch.tensor([5.0, 6.0])]), 1.0, 10)
    updates.append(sent(4, [], [], 9.0, 0))
    strategy.aggregate(1, updates)
    down = strategy.broadcast(2)
    assert down["prototypes"]["classes"].tolist() == [0, 0, 2]  # a class of one client: one row
    expected = [3 * LOOKS[:2].mean(dim=0), 3 * LOOKS[2:].mean(dim=0), torch.tensor([5.0, 6.0])]
    torch.testing.assert_close(
        down["prototypes"]["features"], torch.stack([row.float() for row in expected])
    )
    assert down["arrays"]["0.weight"][0, 0] == pytest.approx((0 + 1 + 2 + 3 * 3) / 6)

    strategy.aggregate(2, [sent(0, [1, 0], [[1.0, 1.0], [2.0, 0.0]], 0.0, 10)])
    kept = strategy.broadcast(3)["prototypes"]
    assert kept["classes"].tolist() == [0, 1, 2]
    assert kept["features"].tolist() == [[2.0, 0.0], [1.0, 1.0], [5.0, 6.0]]


# ---------------------------------------------------------------------- the client trainer

KNOWN = {
    "classes": torch.tensor([0, 0, 2, 3]),
    "features": torch.linspace(-1, 2, 24).reshape(4, 6) ** 2,
}
"""Prototypes of all classes but 1, two of class 0."""


def terms(features: list, labels: list[int], prototypes: Tensors, **changes: Any) -> float:
    task = Task(NETWORK, Optimizer(OptimizerSpec()), classes=4)
    trainer = fpl.FPL(FPLParameters(**{"tau": 0.5} | changes), task)
    record = with_means(prototypes, 4)
    return trainer.terms(torch.tensor(features), torch.tensor(labels), record).item()


def test_the_terms_by_hand() -> None:
    prototypes = {
        "classes": torch.tensor([0, 0, 1]),
        "features": torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]),
    }
    own, other = exp(2) + exp(1.2), 1.0  # cosines 1 and 0.6, and 0; divided by 0.5
    contrast = -log(own / (own + other))
    assert contrast == pytest.approx(0.089272, abs=1e-6)
    sample = [[1.0, 0.0]]
    assert terms(sample, [0], prototypes) == pytest.approx(contrast + 0.1, abs=1e-6)
    assert terms(sample, [0], prototypes, unbiased=0) == pytest.approx(contrast, abs=1e-6)
    assert terms(sample, [0], prototypes, contrast=0) == pytest.approx(0.1, abs=1e-6)
    # A sample of a class without prototypes adds nothing, and counts in the batch.
    both = terms([*sample, [0.3, 0.4]], [0, 3], prototypes)
    assert both == pytest.approx((contrast + 0.1) / 2, abs=1e-6)


def test_a_small_temperature_does_not_overflow() -> None:
    prototypes = {"classes": torch.tensor([0, 1]), "features": torch.eye(2)}
    value = terms([[0.0, 1.0]], [0], prototypes, tau=0.001, unbiased=0)
    assert value == pytest.approx(1000.0)


def received(runtime: Runtime, server_round: int = 2, **records: Tensors) -> Received:
    state = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    return Received({"arrays": state, **records}, {"server-round": server_round, "rounds": 3})


def body_of(model: nn.Module) -> nn.Module:
    return nn.Sequential(*list(model.children())[:-1])


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.usefixtures("double")
def test_local_training_is_that_written_out(epochs: int) -> None:
    model_block = {"name": "small_cnn", "widths": [4, 4, 6]}
    training = FULL | {"local_epochs": epochs}
    runtime = runtime_of(strategy={"name": "fpl", "tau": 0.3}, model=model_block, training=training)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    known = {"classes": KNOWN["classes"], "features": KNOWN["features"].double()}
    update, metrics = runtime.train(0, received(runtime, prototypes=known), {})

    data = runtime.client_data(0)
    inputs, labels = runtime.preprocess.inputs(data.inputs), data.labels
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    features, losses = torch.empty(0), []
    for _ in range(epochs):
        optimizer.zero_grad()
        features = body_of(model)(inputs)
        loss = cross_entropy(list(model.children())[-1](features), labels)
        for feature, label in zip(features, labels, strict=True):
            own = known["classes"] == label
            if own.any():
                powers = (cosine_similarity(feature[None], known["features"]) / 0.3).exp()
                loss = loss - (powers[own].sum() / powers.sum()).log() / len(labels)
                apart = feature - known["features"][own].mean(dim=0)
                loss = loss + apart.square().mean() / len(labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))
    assert metrics["loss"] == pytest.approx(sum(losses) / epochs)
    record = update.arrays["prototypes"]
    assert record["classes"].tolist() == labels.unique().tolist()
    for label, mean in zip(record["classes"], record["features"], strict=True):
        torch.testing.assert_close(mean, features[labels == label].mean(dim=0).detach())


def test_the_first_round_is_fedavgs() -> None:
    ours, theirs = (
        runtime_of(strategy=name, model=MODELS["cnn-batch"], training={"local_epochs": 2})
        for name in ("fpl", "fedavg")
    )
    update, metrics = ours.train(0, received(ours, 1), {})
    plain, usual = theirs.train(0, received(theirs, 1), {})
    torch.testing.assert_close(update.arrays["arrays"], plain.arrays["arrays"])
    assert metrics["steps"] == usual["steps"]
    assert update.client_state == {}


@pytest.mark.parametrize("model", [DEEP, MODELS["cnn-batch"]], ids=["mlp", "cnn"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(model: dict) -> None:
    training = {"batch_size": 8, "local_epochs": 2, "optimizer": {"lr": 0.02, "momentum": 0.5}}
    runtime = ragged(strategy="fpl", model=model, training=training)
    assert runtime.trainer.supports_vmap
    clients = list(range(len(runtime.partition)))
    width = runtime.trainer.task.head.features
    rows = torch.linspace(-1, 2, 4 * width).reshape(4, width).double() ** 2
    given = received(runtime, prototypes={"classes": KNOWN["classes"], "features": rows})
    states: list[ClientState] = [{} for _ in clients]
    alone = [runtime.train(k, given, {}) for k in clients]
    assert_same(alone, runtime.train_many(clients, given, states), 1e-9)


# ---------------------------------------------------------------------- whole runs


def test_bytes_are_those_of_the_model_and_of_the_classes_there_are(tmp_path: Path) -> None:
    chosen = toy.scenario(
        strategy="fpl",
        model=DEEP,
        partition={
            "clients": 4,
            "domains": "mixed",
            "labels": {"name": "classes_per_client", "count": 2},
        },
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    model = 4 * (192 * 6 + 6 + 6 * 4 + 4)
    for server_round in (1, 2):
        assert history[server_round, "bytes_up"] == 4 * (model + 2 * (6 * 4 + 8))
    # Two clients have each class, whose prototypes always make one cluster. Tests need the model.
    assert history[1, "bytes_down"] == 4 * 2 * model
    assert history[2, "bytes_down"] == 4 * (2 * model + 4 * (6 * 4 + 8))


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(InputError, match="fpl needs features"):
        prepare(toy.scenario(strategy="fpl", model="linear"))
