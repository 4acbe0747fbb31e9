"""FedWon, client trainer: local SGD with adaptive gradient clipping, no normalisation layers.

See `fedlab.strategies.fedwon` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received, Update
from fedlab.models.adaptive_clipping import adaptive_gradient_clip
from fedlab.models.head import head_names
from fedlab.models.weight_standardisation import standardised_kernels
from fedlab.records import Tensors
from fedlab.strategies.fedwon import FedWonParameters
from fedlab.training.task import Batch, Task


class FedWon(ClientTrainer[FedWonParameters]):
    """Local SGD; gradients are clipped unit by unit where the scenario asks for it."""

    def __init__(self, parameters: FedWonParameters, task: Task) -> None:
        super().__init__(parameters, task)
        # NFNets leave the classifier unclipped.
        self.unclipped = head_names(task.model)

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Gradients by raw (not standardised) weights, clipped adaptively."""
        grads, metrics = super().gradients(carry, batch, phase)
        clipping = self.parameters.clipping_of(len(batch.labels))
        if clipping is not None:
            grads = adaptive_gradient_clip(carry.parameters, grads, clipping, skip=self.unclipped)
        return grads, metrics

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, with ``transmit: standardised`` that of standardised kernels."""
        update = super().finish(carry, received, steps)
        if self.parameters.transmit == "standardised":
            sent = standardised_kernels(self.task.model, update.arrays["arrays"])
            return update._replace(arrays={"arrays": sent})
        return update
