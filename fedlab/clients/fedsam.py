"""FedSAM, client trainer: sharpness-aware steps (SAM), two gradients each.

See `fedlab.strategies.fedsam` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, trained_part
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.fedsam import FedSAMParameters
from fedlab.training.gradients import with_zeros
from fedlab.training.lists import added, copied, norm, times
from fedlab.training.task import Batch, Task

EPS = 1e-12
"""Lower bound of the gradient's norm, against division by zero."""


class FedSAM(ClientTrainer[FedSAMParameters]):
    """Local steps with β ∇F(θ + ρ g/‖g‖) + (1 - β) Δ, g = ∇F(θ).

    Δ is the mean gradient of all clients in the last round; β is 1 in FedSAM.
    """

    def __init__(self, parameters: FedSAMParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.rho = parameters.rho
        self.own_share = parameters.own_share

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Turns the clients' mean step into the gradient that it followed."""
        carry = super().begin(received, client_state, stats)
        if self.own_share == 1:
            return carry
        lr = self.task.optimizer.learning_rate(max(received.server_round - 1, 1))
        mean = {name: step / -lr for name, step in received.arrays["step"].items()}
        return carry._replace(extra={**carry.extra, "mean gradient": mean})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Gradients at the perturbed parameters, and metrics at the unperturbed ones.

        Only the first of the two passes updates running statistics and the loss's state.
        """
        grads, metrics = super().gradients(carry, batch, phase)
        uphill = self.uphill(carry.parameters, grads)
        buffers = copied(carry.buffers)
        kept = copied(carry.extra.get("loss", {}))
        elsewhere = carry._replace(
            parameters=uphill, buffers=buffers, extra={**carry.extra, "loss": kept}
        )
        steep = super().gradients(elsewhere, batch, phase)[0]
        if self.own_share == 1:
            return steep, metrics
        mean = carry.extra["mean gradient"]
        steep = with_zeros(steep, trained_part(carry.parameters, phase))
        return {n: torch.lerp(mean[n], grad, self.own_share) for n, grad in steep.items()}, metrics

    def uphill(self, parameters: Tensors, grads: Tensors) -> Tensors:
        """θ + ρ g/‖g‖ for the parameters that have a gradient, the others as they are."""
        if not grads:
            return parameters
        scale = self.rho / norm(grads).clamp(min=EPS)
        return {**parameters, **added(times(grads, scale), parameters)}
