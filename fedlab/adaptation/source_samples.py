"""Labelled samples of the clients that trained, by which a model's errors are estimated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlab.adaptation.trained import Trained, refuse_without_labels
from fedlab.errors import InputError
from fedlab.records import Tensors, as_tensor


class SourceSamples(NamedTuple):
    """Outputs of a model for samples of all clients that trained it.

    Attributes:
        split: ``validation``, or ``training`` where nothing was set aside.
        outputs: Logits of shape (n, classes), on the CPU.
        labels: int64 of shape (n,), on the CPU: those that the clients see.
    """

    split: str
    outputs: Tensor
    labels: Tensor

    @property
    def words(self) -> str:
        """What they are, for messages."""
        if self.split == "validation":
            return f"{len(self.labels):,} validation samples of the clients that trained"
        return (
            f"{len(self.labels):,} labelled training samples, about which the network is better "
            "and surer than about others; evaluation.validation=0.2 sets samples aside"
        )


def validation_samples(trained: Trained, state: Tensors) -> SourceSamples | None:
    """The clients' validation samples; None where they have none."""
    partition, pool = trained.runtime.partition, trained.runtime.data.train
    if not len(partition.validation):
        return None
    rows = partition.validation[_trained(trained, partition.validation_offsets)]
    if not len(rows):
        return None
    labels = as_tensor(pool.labels[rows])
    return SourceSamples("validation", trained.outputs(state, pool, rows), labels)


def source_samples(trained: Trained, state: Tensors) -> SourceSamples:
    """The validation samples, or else the labelled training samples.

    Raises:
        InputError: If outputs are not finite, or no sample has a label of its own.
    """
    found = validation_samples(trained, state)
    if found is None:
        because = "labelled samples are needed (evaluation.validation=0.2 sets some aside)"
        refuse_without_labels(trained.run, because)
        partition, pool = trained.runtime.partition, trained.runtime.data.train
        known = partition.labelled & _trained(trained, partition.train_offsets)
        outputs = trained.outputs(state, pool, partition.train[known])
        found = SourceSamples("training", outputs, as_tensor(partition.labels[known]))
    refuse_infinite(trained, found.outputs)
    return found


def refuse_infinite(trained: Trained, outputs: Tensor) -> None:
    """Refuses outputs that are not finite, of a network that has diverged.

    Raises:
        InputError: If they are not finite.
    """
    if not torch.isfinite(outputs).all():
        raise InputError(
            f"the run '{trained.run.folder}' has diverged: its outputs are not finite; train it "
            "again with a smaller training.optimizer.lr"
        )


def _trained(trained: Trained, offsets: np.ndarray) -> np.ndarray:
    """Rows of a split that belong to clients that trained, bool of shape (n,)."""
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return ~np.isin(owners, trained.runtime.partition.held_out)
