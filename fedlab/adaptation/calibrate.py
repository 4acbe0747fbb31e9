"""Calibration after training: the last layer is trained anew on drawn features of all clients.

No Fear of Heterogeneity: Classifier Calibration for Federated Learning with Non-IID Data, Luo,
Chen, Hu, Zhang, Liang, Feng, NeurIPS 2021, arXiv 2106.05001 (CCVR). Clients send, once, the count,
mean and covariance of each class of their features (what the last dense layer reads); the server
pools them exactly, draws features of every class from a normal distribution with these moments,
equally many of each, and trains the last layer on them. It is the only layer that changes.

It is a step after training for every method with a global model, and does not change its rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.adaptation.choice import above_zero, still_finite
from fedlab.adaptation.client_features import client_features
from fedlab.adaptation.trained import Trained, open_classifier, refuse_without_labels
from fedlab.errors import InputError
from fedlab.models.eigenspace import Geometry, Moments
from fedlab.records import Tensors
from fedlab.runs.run import Run
from fedlab.strategies.families.requirements import gives_outputs

if TYPE_CHECKING:
    import pandas


class Calibrated(NamedTuple):
    """A calibrated model.

    Attributes:
        model: All of its tensors.
        table: One row per domain: ``domain``, ``before``, ``after`` (accuracy on the domain's test
            set) and ``examples``.
        bytes_up: Largest number of bytes of moments that a client has to send: for each of its
            classes a count, a mean and the upper triangle of a covariance.
    """

    model: Tensors
    table: pandas.DataFrame
    bytes_up: int


def calibrate(
    run: Run,
    *,
    per_class: int = 500,
    steps: int = 500,
    lr: float = 0.01,
    batch_size: int = 64,
    seed: int = 0,
) -> Calibrated:
    """Trains the last layer of a run's global model on drawn features; tests it before and after.

    Args:
        run: A finished run.
        per_class: Features drawn of each class.
        steps: Steps of SGD with momentum 0.9.
        lr: Their learning rate.
        batch_size: Features per step.
        seed: Seed of the draws and of their order.

    Raises:
        InputError: If the run has not finished, does not learn classes, has no global model or no
            last dense layer that gives the outputs, a number is not above 0, or the trained layer
            is no longer finite.
    """
    import pandas

    numbers = {"per_class": per_class, "steps": steps, "lr": lr, "batch_size": batch_size}
    for name, number in numbers.items():
        above_zero(number, f"--{name.replace('_', '-')}")
    refuse_without_labels(run, "moments are of the features of one class")
    trained = open_classifier(run, "calibrate", "features are drawn by class")
    network = trained.runtime.trainer.task.model
    if not gives_outputs(network):
        raise InputError(
            f"the run '{run.folder}' has a network whose outputs are not those of a last dense "
            f"layer, the one that is calibrated ({run.scenario.strategy.name}, "
            f"{run.scenario.model.name}); take a run of another method or model"
        )
    model = trained.model(None)
    clouds, bytes_up = _moments(trained, model)
    features, labels = draw(clouds, per_class, rng.torch_generator(seed, "calibrate"))
    after = {**model, **_trained_head(trained, model, features, labels, numbers, seed)}
    rows = []
    for domain in trained.runtime.data.domain_names:
        tests = [trained.runtime.domain_tests(domain)]
        scores = (trained.runtime.score(state, tests)[0] for state in (model, after))
        for old, new in zip(*scores, strict=True):
            rows.append((domain, old.score, new.score, old.examples))
    table = pandas.DataFrame(rows, columns=["domain", "before", "after", "examples"])
    return Calibrated(after, table, bytes_up)


def draw(
    clouds: dict[int, Moments], per_class: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of each class, normally distributed with its mean and (unbiased) covariance.

    Args:
        clouds: Each class's moments over all clients.
        per_class: Features of each.
        generator: Draws on the CPU.

    Returns:
        Float32 of shape (n, features), and int64 of shape (n,).
    """
    features, labels = [], []
    for label, cloud in clouds.items():
        geometry = Geometry.of(cloud.covariance * (cloud.count / max(cloud.count - 1, 1)))
        centres = cloud.mean.expand(per_class, -1)
        features.append(geometry.around(centres, geometry.values.sqrt(), generator))
        labels.append(torch.full((per_class,), label))
    return torch.cat(features), torch.cat(labels)


def _moments(trained: Trained, model: Tensors) -> tuple[dict[int, Moments], int]:
    """Moments of each class over all clients that train, and the bytes of the largest answer."""
    clouds, most = dict[int, Moments](), 0
    for _, own, classes in client_features(trained, model):
        for label in classes.unique().tolist():
            part = Moments.of(own[classes == label])
            clouds[label] = clouds[label].merge(part) if label in clouds else part
        size = own.shape[1]
        each = 2 * torch.int64.itemsize + torch.float32.itemsize * (size + size * (size + 1) // 2)
        most = max(most, len(classes.unique()) * each)
    return dict(sorted(clouds.items())), most


def _trained_head(
    trained: Trained,
    model: Tensors,
    features: torch.Tensor,
    labels: torch.Tensor,
    numbers: dict[str, float],
    seed: int,
) -> Tensors:
    """The last layer's tensors, trained further on the drawn features."""
    head = trained.runtime.trainer.task.head
    device = trained.runtime.device
    features, labels = features.to(device), labels.to(device)
    own = {name: model[name].clone().requires_grad_() for name in head.names}
    optimizer = torch.optim.SGD(own.values(), lr=numbers["lr"], momentum=0.9)
    order = rng.torch_generator(seed, "calibrate", "order")
    size = int(numbers["batch_size"])
    batches = iter(torch.empty(0, dtype=torch.int64).split(size))
    for _ in range(int(numbers["steps"])):
        rows = next(batches, None)
        if rows is None or not len(rows):
            batches = iter(torch.randperm(len(labels), generator=order).split(size))
            rows = next(batches)
        optimizer.zero_grad()
        cross_entropy(head.outputs(own, features[rows]), labels[rows]).backward()
        optimizer.step()
    trained_head = {name: tensor.detach() for name, tensor in own.items()}
    still_finite(trained_head, f"--lr: with {numbers['lr']:g} the last layer is")
    return trained_head
