"""A work as fedlab's scenario, and the two components of it that fedlab does not bring."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from benchmarks.works import Work, save
from fedlab.clients.base import ClientTrainer, Phase
from fedlab.models.build import build_model
from fedlab.models.spec import ModelSpec
from fedlab.partition.base import LabelSkew
from fedlab.partition.sample_pool import Pool
from fedlab.scenario import Scenario


class ConvNet(ModelSpec):
    """Two convolutions 3x3, a pooling and two dense layers: 1.6 million parameters on 3x32x32."""

    name: Literal["benchmarks.fedlab_work:ConvNet"]

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network; without padding, 32x32 pixels become 64 maps of 14x14."""
        channels, height, width = input_shape
        pooled = ((height - 4) // 2) * ((width - 4) // 2)
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * pooled, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )


class Consecutive(LabelSkew):
    """Clients own consecutive samples, as in all other runners.

    Attributes:
        work: The work, as JSON (`Work.to_json`).
    """

    name: Literal["benchmarks.fedlab_work:Consecutive"]
    work: str

    def divide(self, pool: Pool, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See `LabelSkew.divide`."""
        sizes = Work.parse(self.work).sizes
        return np.repeat(np.arange(len(sizes)), sizes)[pool.order]


class Idle(ClientTrainer):
    """A client that copies the model it received and sends the copy back."""

    def phases(self) -> Sequence[Phase]:
        """Nothing is trained."""
        return []


IDLE = {
    "name": "fedavg",
    "client": "benchmarks.fedlab_work:Idle",
    "weighting": "uniform",  # its clients have trained on no samples
}


def scenario(work: Work, data: Path, rounds: int, **blocks: Any) -> Scenario:
    """The scenario of a work, with evaluation and checkpoints left to the last round.

    Args:
        work: The work.
        data: The file that `benchmarks.works.save` wrote.
        rounds: Rounds.
        **blocks: Blocks of the scenario to add or replace.
    """
    # Features are taken as they are, images as everywhere: (x / 255 - 0.5) / 0.5.
    normalisation = "auto" if work.images else {"mean": 0.0, "std": 1.0}
    source = {
        "name": "npz",
        "path": str(data.resolve()),
        "class_names": [str(label) for label in range(work.classes)],
    }
    return Scenario.model_validate(
        {
            "name": work.name,
            "seed": work.seed,
            "rounds": rounds,
            "data": {
                "sources": [source],
                **({"channels": work.input_shape[0]} if work.images else {}),
                "image_size": work.input_shape[-1],
                "normalisation": normalisation,
            },
            "partition": {
                "clients": work.clients,
                "labels": {
                    "name": "benchmarks.fedlab_work:Consecutive",
                    "work": work.to_json(),
                },
            },
            "model": dict(work.model),
            "strategy": IDLE if work.idle else "fedavg",
            "training": {"batch_size": work.batch, "optimizer": {"lr": work.lr}},
            "participation": {"fraction": work.cohort / work.clients},
            "evaluation": {"every": rounds, "fraction": 0, "domains": False},
            "output": {"checkpoint_every": rounds},
            **blocks,
        }
    )


def network(work: Work) -> nn.Module:
    """The work's network with the initial values that fedlab gives it."""
    example = scenario(work, Path("none.npz"), 1)
    return build_model(
        example.model, example.strategy, work.input_shape, work.classes, example.seed
    )


def prepare(work: Work, folder: Path, *, initial: bool = True) -> Path:
    """The file with the work's samples and initial values; made if it is not there yet.

    Args:
        work: The work.
        folder: Where such files are kept.
        initial: Whether runners of other platforms are to find the initial values there, too.
    """
    name = hashlib.sha256(work.to_json().encode()).hexdigest()[:12]
    path = folder / f"{work.name}-{name}{'' if initial else '-samples'}.npz"
    if not path.exists():
        state = network(work).state_dict() if initial else {}
        save(work, path, {name: tensor.numpy() for name, tensor in state.items()})
    return path
