"""Clients that measure the received model on their training samples before they train."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received
from fedlab.losses.base import ClientStats
from fedlab.models.eval_mode import evaluation_mode
from fedlab.records import Tensors
from fedlab.strategies.parameters import P
from fedlab.training.task import Batch


class ReceivedLoss(ClientTrainer[P]):
    """One pass over the samples with the received model, then training.

    The pass reads batches as training does (augmented ones, where the scenario augments) but with
    the network in evaluation mode.
    """

    def phases(self) -> Sequence[Phase]:
        """The pass, which updates no parameter, then training."""
        return [Phase(trained=()), *super().phases()]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts with sums of zero."""
        carry = super().begin(received, client_state, stats)
        zero = torch.zeros((), dtype=torch.float64, device=exact(stats.class_counts).device)
        measured = {"sum": zero, "count": zero.clone()}
        return carry._replace(extra={**carry.extra, "received loss": measured})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """The gradients of training; in the pass there are none, and losses are added up."""
        if phase.trained is None:
            return super().gradients(carry, batch, phase)
        with torch.no_grad(), evaluation_mode(self.task.model):
            # Copies, as a network may write to its buffers even so.
            buffers = dict(carry.buffers)
            outputs = self.task.outputs(carry.parameters, buffers, batch.inputs)
            loss = self.loss(outputs, batch, carry)
            measured = carry.extra["received loss"]
            measured["sum"] += exact(loss).double() * len(batch.labels)
            measured["count"] += len(batch.labels)
            return {}, self.step_metrics(loss, outputs, batch)

    def received_loss(self, carry: Carry) -> torch.Tensor:
        """The mean loss of the received model, float64; 0 for a client without labelled samples."""
        measured = carry.extra["received loss"]
        return measured["sum"] / measured["count"].clamp(min=1)
