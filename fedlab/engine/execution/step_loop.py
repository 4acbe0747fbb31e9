"""The steps of a client's round, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from fedlab.clients.base import Carry, ClientTrainer, Phase
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.feed import Feed
from fedlab.engine.execution.step_metrics import Metrics
from fedlab.models.memory_format import channels_last
from fedlab.training.task import Batch


class PlacedSamples(NamedTuple):
    """What steps read of samples by row, on one device.

    Attributes:
        inputs: Shape (n, ...).
        labels: Shape (n,) or (n, outputs).
        labelled_there: Which labels are known, bool of shape (n,).
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    labelled_there: torch.Tensor


class StepLoop:
    """Takes the steps as they are written, operation by operation: the reference.

    Args:
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        samples: The client's samples.
        server_round: The round, from 1.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        samples: ClientData,
        server_round: int,
    ) -> None:
        self.trainer = trainer
        self.preprocess = preprocess
        self.samples = samples
        self.server_round = server_round
        self.metrics = Metrics()

    def run(
        self, carry: Carry, phase: Phase, feeds: Sequence[Feed], measured: bool = True
    ) -> Carry:
        """Takes the steps of a phase.

        Args:
            carry: The tensors before the first step.
            phase: The phase.
            feeds: What each step reads.
            measured: Whether the steps' metrics join those of the round.

        Returns:
            The tensors after the last step.
        """
        for feed in feeds:
            batch = batch_of(self.preprocess, self.samples, feed, phase)
            carry, metrics = self.trainer.step(carry, batch, phase, self.server_round)
            if measured:
                self.metrics.add(metrics, len(feed.rows))
        return carry

    def read(
        self, more: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """The sums of the steps' metrics, and other scalars on the host (see `Metrics.read`)."""
        return self.metrics.read(more)


def batch_of(
    preprocess: Preprocess, samples: ClientData | PlacedSamples, feed: Feed, phase: Phase
) -> Batch:
    """The batch of one step of a phase.

    Args:
        preprocess: Normalises and augments it.
        samples: The client's samples.
        feed: What the step reads, on their device.
        phase: The phase.
    """
    index = feed.rows
    stored = preprocess.inputs(samples.inputs[index], own=True)
    inputs = channels_last(preprocess.augmented(stored, feed.draws))
    strong = None
    if feed.strong is not None:
        strong = preprocess.strong_views(stored[len(stored) - feed.views :], feed.strong)
    labelled = samples.labelled_there[index] if phase.split == "all" else None
    return Batch(inputs, samples.labels[index], index, labelled, strong, feed.noise)
