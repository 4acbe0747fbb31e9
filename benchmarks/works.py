"""The work that runners are compared on: what every client has and does, and how to make its data.

Nothing but NumPy is imported, because runners of other platforms, which live in environments of
their own, read this module, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
"""Seed of samples, initial values and cohorts."""


@dataclass(frozen=True)
class Work:
    """One federated problem: FedAvg, one local epoch of plain SGD in float32.

    Attributes:
        name: The work's name.
        clients: Number of clients; they own consecutive samples.
        samples: Training samples of each client, or their mean.
        cohort: Clients that train in a round.
        batch: Samples per step.
        lr: Learning rate of SGD.
        input_shape: Shape of a sample; three numbers for a uint8 image, one for float32 features.
        classes: Number of classes.
        model: The ``model`` block of fedlab's scenario.
        idle: Whether clients send back what they received instead of training.
        spread: Standard deviation of the logarithm of clients' sizes; 0 makes them equal.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    model: Mapping[str, Any]
    clients: int = 1000
    samples: int = 50
    cohort: int = 50
    batch: int = 10
    lr: float = 0.1
    idle: bool = False
    seed: int = SEED
    spread: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Work:
        """A work by its name in `WORKS`, or written out by `to_json`."""
        if text in WORKS:
            return WORKS[text]
        fields = json.loads(text)
        return cls(**{**fields, "input_shape": tuple(fields["input_shape"])})

    def to_json(self) -> str:
        """All fields as a text that `parse` reads."""
        return json.dumps(asdict(self))

    @property
    def images(self) -> bool:
        """Whether samples are images and not rows of features."""
        return len(self.input_shape) == 3

    @property
    def sizes(self) -> np.ndarray:
        """Training samples of each client, int64 of shape (clients,); log-normal, at least 2."""
        if not self.spread:
            return np.full(self.clients, self.samples)
        drawn = np.random.default_rng([self.seed, self.clients]).lognormal(
            0, self.spread, self.clients
        )
        return np.maximum(2, np.rint(self.samples * drawn / drawn.mean())).astype(np.int64)

    def cohort_of(self, server_round: int) -> list[int]:
        """The clients that train in a round (from 1), the same as fedlab draws."""
        text = "\x1f".join([str(self.seed), "cohort", str(server_round)])
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "big") >> 1)
        return sorted(generator.choice(self.clients, size=self.cohort, replace=False).tolist())


RESNET18 = Work(
    "resnet18",
    (3, 32, 32),
    10,
    {"name": "resnet18", "stem": "cifar", "norm": "group"},
    clients=20,
    samples=500,
    cohort=20,
    batch=50,
    lr=0.01,
)

WORKS = {
    work.name: work
    for work in (
        Work("lr", (784,), 62, {"name": "linear"}),
        Work("mlp", (784,), 62, {"name": "mlp", "hidden": [128]}),
        Work("cnn", (3, 32, 32), 10, {"name": "benchmarks.fedlab_work:ConvNet"}),
        Work(
            "digits",
            (3, 28, 28),
            10,
            {"name": "digits_cnn"},
            clients=5,
            samples=743,
            cohort=5,
            batch=32,
            lr=0.01,
        ),
        RESNET18,
        # As CIFAR-10 is usually divided: minutes a round on two cores.
        replace(RESNET18, name="cifar", clients=100, cohort=10),
        # As FEMNIST's writers are: many, of very different sizes.
        Work(
            "femnist",
            (1, 28, 28),
            62,
            {"name": "benchmarks.fedlab_work:ConvNet"},
            clients=3400,
            samples=200,
            cohort=10,
            batch=20,
            lr=0.05,
            spread=0.4,
        ),
        # A model of 1 MB without training: the time is the engine's.
        Work("idle", (512,), 512, {"name": "linear"}, samples=1, idle=True),
    )
}


def smaller(work: Work, clients: int = 8, samples: int = 20, cohort: int = 4) -> Work:
    """The same work for fewer and smaller clients, to try out whether it runs."""
    clients = min(clients, work.clients)
    return replace(work, clients=clients, samples=samples, cohort=min(cohort, clients))


def make_samples(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Samples that a network can learn: each is noise around the prototype of its class.

    Returns:
        Inputs of shape (samples of all clients, ...) and int64 labels, the same for the same work.
    """
    count, width = int(work.sizes.sum()), prod(work.input_shape)
    generator = np.random.default_rng([work.seed, width, work.classes])
    labels = generator.integers(work.classes, size=count)
    prototypes = generator.normal(0, 1, (work.classes, width)).astype(np.float32)
    inputs = np.empty((count, width), np.uint8 if work.images else np.float32)
    for start in range(0, count, 4096):  # in pieces, because noise is four times as large as bytes
        rows = slice(start, start + 4096)
        noise = generator.standard_normal((len(labels[rows]), width), dtype=np.float32)
        if work.images:
            inputs[rows] = (128 + 32 * prototypes[labels[rows]] + 40 * noise).clip(0, 255)
        else:
            inputs[rows] = 0.1 * prototypes[labels[rows]] + 0.15 * noise
    return inputs.reshape(count, *work.input_shape), labels.astype(np.int64)


def save(work: Work, path: Path, initial: Mapping[str, np.ndarray]) -> None:
    """Writes what all runners read, once: samples, a few of them again for tests, initial values.

    Args:
        work: The work.
        path: The ``.npz`` file.
        initial: The network's tensors by name, as PyTorch's ``state_dict`` calls them.
    """
    inputs, labels = make_samples(work)
    arrays = {"x_train": inputs, "y_train": labels, "x_test": inputs[:2], "y_test": labels[:2]}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    np.savez(unfinished, **arrays, **{f"initial/{name}": a for name, a in initial.items()})
    unfinished.rename(path)


@dataclass(frozen=True)
class Data:
    """The arrays of a file that `save` wrote.

    Attributes:
        inputs: Of each client, shape (samples, ...).
        labels: Of each client, int64 of shape (samples,).
        initial: The network's initial tensors by name.
    """

    inputs: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    initial: dict[str, np.ndarray]


def load(path: str | Path, work: Work) -> Data:
    """Reads a file that `save` wrote."""
    with np.load(path) as saved:
        names = [name for name in saved.files if name.startswith("initial/")]
        ends = np.cumsum(work.sizes)[:-1]
        return Data(
            np.split(saved["x_train"], ends),
            np.split(saved["y_train"], ends),
            {name.removeprefix("initial/"): saved[name] for name in names},
        )
