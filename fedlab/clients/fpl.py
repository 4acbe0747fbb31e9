"""FPL, client trainer: the local loss, a contrast with cluster prototypes, a pull to their mean.

See `fedlab.strategies.fpl` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.prototypes import (
    add_features,
    class_means,
    contrast,
    cosines,
    no_features,
    with_means,
)
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.fpl import FPLParameters
from fedlab.training.task import Batch


class FPL(ClientTrainer[FPLParameters]):
    """Minimises the loss and, of samples whose class has prototypes, two terms.

    ℓ_con = -log(Σ_{p of y} e^{cos(f, p)/τ} / Σ_p e^{cos(f, p)/τ}), and the mean squared difference
    between f and the mean of the prototypes of y; f are the features, y the label of a sample. The
    terms are sums over these samples, divided by the size of the batch.
    """

    def phases(self) -> Sequence[Phase]:
        """Training; the last epoch is a separate phase, the features of which are summed up."""
        (usual,) = super().phases()
        if usual.steps is not None or usual.epochs == 1:
            return [usual]
        first = replace(usual, epochs=usual.epochs - 1)
        return [first, replace(usual, epochs=1, enter=self.sum_up_anew)]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Arranges the received prototypes by class, if any, and resets the sums of features."""
        carry = super().begin(received, client_state, stats)
        classes = self.task.classes
        extra = {"sums": no_features(classes, self.task.head)}
        if down := received.arrays.get("prototypes"):
            extra["prototypes"] = with_means(down, classes)
        return carry._replace(extra={**carry.extra, **extra})

    def sum_up_anew(self, carry: Carry) -> Carry:
        """Resets the sums of features."""
        empty = {name: torch.zeros_like(tensor) for name, tensor in carry.extra["sums"].items()}
        return carry._replace(extra={**carry.extra, "sums": empty})

    def terms(self, features: Tensor, labels: Tensor, prototypes: Tensors) -> Tensor:
        """The weighted sum of both terms, a scalar.

        Args:
            features: Shape (batch, features).
            labels: Shape (batch,).
            prototypes: The record that came down, with means (`with_means`).
        """
        own = prototypes["classes"] == labels[:, None]
        scores = cosines(features, prototypes["features"]) / self.parameters.tau
        apart = (features - prototypes["means"][labels]).square().mean(dim=1)
        apart = apart * prototypes["known"][labels]
        weights = self.parameters
        return weights.contrast * contrast(scores, own).mean() + weights.unbiased * apart.mean()

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, Tensor]]:
        """The gradients of the loss with the terms; the step's features join the sums."""

        def value(parameters: Tensors, buffers: Tensors) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            features, outputs = self.task.features_and_outputs(parameters, buffers, batch.inputs)
            loss = self.loss(outputs, batch, carry)
            if "prototypes" in carry.extra:
                loss = loss + self.terms(features, batch.labels, carry.extra["prototypes"])
            return loss, (features.detach(), outputs.detach())

        grads, loss, (features, outputs) = self.task.gradients(
            value, carry.parameters, carry.buffers
        )
        add_features(carry.extra["sums"], features, batch.labels)
        return self.task.optimizer.clip(grads), self.step_metrics(loss, outputs, batch)

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, and the mean features of the client's classes."""
        update = super().finish(carry, received, steps)
        found = class_means(carry.extra["sums"])
        record = {name: found[name] for name in ("classes", "features")}
        return update._replace(arrays={**update.arrays, "prototypes": record})
