"""Client trainers whose steps no replay can repeat."""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.training.task import Batch


class Decides(ClientTrainer):
    """Doubles gradients where the loss is large: asks the device for a value in every step."""

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """The gradients, doubled or not."""
        grads, metrics = super().gradients(carry, batch, phase)
        factor = 2.0 if metrics["loss"] > 1.3 else 1.0
        return {name: factor * grad for name, grad in grads.items()}, metrics


class Draws(ClientTrainer):
    """Scales the loss by a number that the host draws."""

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The scaled loss."""
        loss, outputs = super().objective(parameters, carry, batch)
        return loss * (1 + float(torch.rand(()))), outputs


class KeepsOnTheHost(ClientTrainer):
    """Scales the loss by a number that lies on the host and differs between clients."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers the client's share of labels of the first class."""
        carry = super().begin(received, client_state, stats)
        share = stats.class_counts.cpu()[0] / 40
        return carry._replace(extra={**carry.extra, "scale": {"share": share.float()}})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The scaled loss."""
        loss, outputs = super().objective(parameters, carry, batch)
        return loss * carry.extra["scale"]["share"], outputs


class Grows(ClientTrainer):
    """Keeps the losses of all steps of a round, one more with each of them."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts with none."""
        carry = super().begin(received, client_state, stats)
        some = next(iter(carry.parameters.values()))
        return carry._replace(extra={**carry.extra, "seen": {"losses": some.new_zeros(0)}})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """The gradients; appends the loss."""
        grads, metrics = super().gradients(carry, batch, phase)
        seen = carry.extra["seen"]
        seen["losses"] = torch.cat([seen["losses"], metrics["loss"].view(1)])
        return grads, metrics


class Replaces(ClientTrainer):
    """Counts its steps in a tensor that every step makes anew, and swaps two others."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts the count and the two others."""
        carry = super().begin(received, client_state, stats)
        some = next(iter(carry.parameters.values()))
        counts = {"one": some.new_zeros(()), "other": some.new_ones(()), "steps": some.new_ones(())}
        return carry._replace(extra={**carry.extra, "counts": counts})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Gradients that depend on all three."""
        grads, metrics = super().gradients(carry, batch, phase)
        counts = carry.extra["counts"]
        counts["one"], counts["other"] = counts["other"], counts["one"]
        counts["steps"] = counts["steps"] + 1
        scale = 0.1 * counts["steps"] + 0.2 * counts["one"] + 0.3 * counts["other"]
        return {name: scale * grad for name, grad in grads.items()}, metrics
