"""GGEUR over FedAvg with a softmax head, in NumPy alone: a referee for the engine's.

Nothing of fedlab is used. Beside the paper's draws it has two that take its idea apart: repeated
samples without noise, which even out a client's own classes and nothing else, and noise along each
feature alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Draws = Literal["full", "diagonal", "repeated", "none"]
Client = tuple[np.ndarray, np.ndarray]
"""Features of shape (n, features), and classes of shape (n,)."""


class Cloud(NamedTuple):
    """Moments of the features of a class: count, mean, and covariance (divided by the count)."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def moments(client: Client) -> dict[int, Cloud]:
    """The moments of each class that a client has."""
    features, classes = client
    own = {int(c): features[classes == c].astype(np.float64) for c in np.unique(classes)}
    return {c: Cloud(len(x), x.mean(0), np.cov(x.T, ddof=0)) for c, x in own.items()}


def pooled(answers: Sequence[dict[int, Cloud]]) -> dict[int, Cloud]:
    """The moments over all clients: within them, and between their means."""
    found = {}
    for label in sorted({label for answer in answers for label in answer}):
        parts = [answer[label] for answer in answers if label in answer]
        count = sum(part.count for part in parts)
        mean = sum(part.count * part.mean for part in parts) / count
        spread = sum(
            part.count * (part.covariance + np.outer(part.mean - mean, part.mean - mean))
            for part in parts
        )
        found[label] = Cloud(count, mean, spread / count)
    return found


def factors(clouds: dict[int, Cloud], kind: Draws = "full") -> dict[int, np.ndarray]:
    """For each class a matrix A, so that ε A with ε ~ N(0, 1) is the noise of draws.

    Args:
        clouds: The moments of each class over all clients.
        kind: Noise of the covariance, of its diagonal, or none; ``none`` has no classes, so that
            nothing is drawn.
    """
    if kind == "none":
        return {}
    return {label: _factor(cloud.covariance, kind) for label, cloud in clouds.items()}


def augmented(
    client: Client,
    noise: dict[int, np.ndarray],
    fill: int,
    random: np.random.Generator,
    prototypes: Sequence[dict[int, Cloud]] = (),
    around: int = 0,
) -> Client:
    """A client's samples and what is drawn: each of its classes filled up, and around prototypes.

    Args:
        client: Its samples.
        noise: What `factors` has for each class.
        fill: Samples of each of its own classes, drawn ones included.
        random: Draws.
        prototypes: Moments of the other clients.
        around: Draws around each of their means.
    """
    features, classes = client
    inputs, labels = [features], [classes]
    for label, factor in noise.items():
        own = features[classes == label]
        missing = max(0, fill - len(own)) if len(own) else 0
        centres = [own[random.integers(0, max(1, len(own)), missing)]]
        centres += [np.tile(o[label].mean, (around, 1)) for o in prototypes if label in o]
        new = np.concatenate(centres)
        inputs.append(new + random.standard_normal((len(new), len(factor))) @ factor)
        labels.append(np.full(len(new), label))
    return np.concatenate(inputs).astype(np.float32), np.concatenate(labels)


def train(
    clients: Sequence[Client],
    classes: int,
    rounds: int,
    steps: int,
    batch: int,
    lr: float,
    random: np.random.Generator,
) -> np.ndarray:
    """FedAvg: a head of shape (features + 1, classes), the last row being the intercepts.

    Clients count by their samples; every client takes `steps` of plain SGD a round, in new orders.
    """
    sizes = np.array([len(labels) for _, labels in clients])
    head = np.zeros((clients[0][0].shape[1] + 1, classes), np.float32)
    with_one = [(np.hstack([x, np.ones((len(x), 1), np.float32)]), y) for x, y in clients]
    for _ in range(rounds):
        heads = [_local(head.copy(), x, y, steps, batch, lr, random) for x, y in with_one]
        head = np.tensordot(sizes / sizes.sum(), np.stack(heads), 1).astype(np.float32)
    return head


def accuracy(head: np.ndarray, test: Client) -> float:
    """In per cent."""
    features, classes = test
    return 100 * float(np.mean((features @ head[:-1] + head[-1]).argmax(1) == classes))


def _local(
    head: np.ndarray,
    inputs: np.ndarray,
    classes: np.ndarray,
    steps: int,
    batch: int,
    lr: float,
    random: np.random.Generator,
) -> np.ndarray:
    size = min(batch, len(inputs))
    passes = -(-steps * size // len(inputs))
    order = np.concatenate([random.permutation(len(inputs)) for _ in range(passes)])
    for step in range(steps):
        chosen = order[step * size : (step + 1) * size]
        logits = inputs[chosen] @ head
        wanted = np.exp(logits - logits.max(1, keepdims=True))
        wanted /= wanted.sum(1, keepdims=True)
        wanted[np.arange(size), classes[chosen]] -= 1
        head -= lr / size * (inputs[chosen].T @ wanted)
    return head


def _factor(covariance: np.ndarray, kind: Draws) -> np.ndarray:
    if kind == "repeated":
        return np.zeros((1, len(covariance)))
    if kind == "diagonal":
        return np.diag(np.sqrt(np.diag(covariance)))
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))).T
