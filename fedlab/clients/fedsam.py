"""FedSAM, client trainer: steps by the gradient of a point uphill, twice the work of plain SGD.

Generalized Federated Learning via Sharpness Aware Minimization, Qu, Li, Duan, Liu, Tang, Lu,
ICML 2022, arXiv 2206.02618. Sharpness-aware minimisation: Foret, Kleiner, Mobahi, Neyshabur,
ICLR 2021, arXiv 2010.01412.

Up: the whole model. Down: the whole model; for MoFedSAM also the mean step of the last round.
Stays: nothing.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, trained_part
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors, copied
from fedlab.strategies.fedsam import FedSAMParameters
from fedlab.training.gradients import with_zeros
from fedlab.training.task import Batch, Task

EPS = 1e-12
"""What the gradient's norm is taken to be at least."""


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
        """Gradients uphill, and the metrics of where the client is.

        Running statistics, and what a loss keeps, follow the first of the two passes only.
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
        """θ + ρ g/‖g‖ for the parameters that have a slope, the others as they are."""
        if not grads:
            return parameters
        squares = torch.stack([grad.square().sum() for grad in grads.values()])
        scale = self.rho / squares.sum().sqrt().clamp(min=EPS)
        return {**parameters, **{name: parameters[name] + scale * grads[name] for name in grads}}
