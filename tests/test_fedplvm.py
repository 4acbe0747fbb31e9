"""FedPLVM: its terms and clusters by hand, a round in plain PyTorch, and bytes."""

from __future__ import annotations

import copy
from math import exp, log
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from fedlab.clients import fedplvm
from fedlab.clients.base import Received
from fedlab.clients.families.prototypes import with_means
from fedlab.clients.fedplvm import local_clusters
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.models.finch import cluster_labels
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.server_app import build_strategy
from fedlab.strategies.fedplvm import FedPLVMParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Task
from helpers import toy
from helpers.cohorts import runtime_of
from helpers.method_rounds import size

NETWORK = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4))
DEEP = {"name": "mlp", "hidden": [6]}


def terms(features: list, labels: list[int], prototypes: Tensors, **changes: Any) -> Tensor:
    task = Task(NETWORK, Optimizer(OptimizerSpec()), classes=4)
    trainer = fedplvm.FedPLVM(FedPLVMParameters(**changes), task)
    record = with_means(prototypes, 4)
    return trainer.terms(torch.as_tensor(features), torch.tensor(labels), record)


def direction(cosine: float) -> list[float]:
    return [cosine, (1 - cosine**2) ** 0.5]


@pytest.mark.parametrize(("alpha", "contrast"), [(0.25, 0.010857), (1.0, 0.0000927)])
def test_the_terms_by_hand(alpha: float, contrast: float) -> None:
    """Cosines 0.81 with the own class and 0.16 with another one."""
    prototypes = {
        "classes": torch.tensor([1, 2]),
        "features": torch.tensor([direction(0.81), direction(0.16)], dtype=torch.double),
    }
    sample = torch.tensor([[1.0, 0.0]], dtype=torch.double)
    near, far = (exp(cosine**alpha / 0.07) for cosine in (0.81, 0.16))
    assert -log(near / (near + far)) == pytest.approx(contrast, rel=1e-3)
    value = terms(sample, [1], prototypes, alpha=alpha).item()  # type: ignore[arg-type]
    assert value == pytest.approx(-log(near / (near + far)) + 2 * (0.81 - 1) ** 2)


def test_cosines_that_are_not_positive_have_finite_gradients() -> None:
    prototypes = {"classes": torch.tensor([0, 1]), "features": torch.tensor([[1.0, 0], [0, 1.0]])}
    sample = torch.tensor([[-1.0, 0.0]], requires_grad=True)
    terms(sample, [1], prototypes).backward()  # type: ignore[arg-type]
    assert sample.grad is not None
    assert sample.grad.isfinite().all()


def test_clusters_of_each_class_that_are_large_enough_are_sent() -> None:
    angles = torch.tensor([0.0, 10, 5, 100, 110, 40]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([3, 3, 3, 3, 3, 1])
    found = local_clusters(features, labels, smallest=1)
    assert found["classes"].tolist() == [1, 3, 3]
    expected = [features[5], features[:3].mean(dim=0), features[3:5].mean(dim=0)]
    torch.testing.assert_close(found["features"], torch.stack(expected))
    assert local_clusters(features, labels, smallest=2)["classes"].tolist() == [3, 3]
    assert local_clusters(features, labels, smallest=3)["classes"].tolist() == [3]
    assert local_clusters(features[:0], labels[:0], smallest=1)["features"].shape == (0, 2)


def received(runtime: Runtime, **records: Tensors) -> Received:
    state = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    return Received({"arrays": state, **records}, {"server-round": 2, "rounds": 3})


KNOWN = {
    "classes": torch.tensor([0, 0, 2, 3]),
    "features": torch.linspace(-1, 2, 24).reshape(4, 6).double() ** 2,
}


@pytest.mark.usefixtures("double")
def test_local_training_is_that_written_out() -> None:
    training = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.02}}
    block = {"name": "fedplvm", "lam": 0.5, "tau": 0.3}
    runtime = runtime_of(
        strategy=block, model={"name": "small_cnn", "widths": [4, 4, 6]}, training=training
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    update, metrics = runtime.train(0, received(runtime, prototypes=KNOWN), {})

    data = runtime.client_data(0)
    inputs, labels = runtime.preprocess.inputs(data.inputs), data.labels
    body, head = nn.Sequential(*list(model.children())[:-1]), list(model.children())[-1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(2):
        optimizer.zero_grad()
        features = body(inputs)
        loss = cross_entropy(head(features), labels)
        for feature, label in zip(features, labels, strict=True):
            own = KNOWN["classes"] == label
            if own.any():
                cosines = cosine_similarity(feature[None], KNOWN["features"]).clamp(min=1e-6)
                powers = (cosines**0.25 / 0.3).exp()
                mean = KNOWN["features"][own].mean(dim=0)
                off = cosine_similarity(feature, mean, dim=0) - 1
                term = 2 * off**2 - (powers[own].sum() / powers.sum()).log()
                loss = loss + 0.5 * term / len(labels)
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))
    assert metrics["steps"] == 2  # those of training; the pass only measures
    features = body.eval()(inputs).detach()
    record = update.arrays["prototypes"]
    for label in labels.unique():
        points = features[labels == label]
        rows = record["features"][record["classes"] == label]
        groups = cluster_labels(points)
        assert len(rows) == int(groups.max()) + 1
        for row in (points[groups == k].mean(dim=0) for k in groups.unique()):
            assert (rows - row).norm(dim=1).min() < 1e-9


def test_bytes_are_those_of_the_model_and_the_clusters() -> None:
    runtime = runtime_of(strategy="fedplvm", model=DEEP)
    strategy = build_strategy(runtime.scenario, runtime.trainer.task.model)
    strategy.initialise(dict(runtime.trainer.task.model.state_dict()))
    update, _ = runtime.train(0, received(runtime), {})
    rows = len(update.arrays["prototypes"]["classes"])
    assert rows >= 4
    model = 4 * sum(p.numel() for p in runtime.trainer.task.model.parameters())
    assert size(list(update.arrays.values())) == model + rows * (4 * 6 + 8)
    assert strategy.upload_bytes(0) == model + 4 * 64 * (4 * 6 + 8)  # the most there could be
    assert not runtime.trainer.supports_vmap


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(InputError, match="fedplvm needs features"):
        prepare(toy.scenario(strategy="fedplvm", model="linear"))
