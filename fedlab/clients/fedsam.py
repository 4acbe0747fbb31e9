"""FedSAM, local half: steps by the gradient of a point uphill, twice the work of plain SGD.

Generalized Federated Learning via Sharpness Aware Minimization, Qu, Li, Duan, Liu, Tang, Lu,
ICML 2022, arXiv 2206.02618. Sharpness-aware minimisation: Foret, Kleiner, Mobahi, Neyshabur,
ICLR 2021, arXiv 2010.01412.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from typing import cast

import torch

from fedlab.clients.base import Carry, LocalHalf, Phase
from fedlab.clients.task import Batch, Task
from fedlab.records import Tensors
from fedlab.strategies.fedsam import FedSAMParameters
from fedlab.strategies.parameters import StrategyParameters

EPS = 1e-12
"""What the gradient's norm is taken to be at least."""


class FedSAM(LocalHalf):
    """Local steps with ∇F(θ + ρ g/‖g‖), g = ∇F(θ)."""

    def __init__(self, parameters: StrategyParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.rho = cast(FedSAMParameters, parameters).rho

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Gradients uphill, and the metrics of where the client is.

        Running statistics, and what a loss keeps, follow the first of the two passes only.
        """
        slopes, metrics = super().gradients(carry, batch, phase)
        uphill = self.uphill(carry.parameters, slopes)
        buffers = {name: tensor.clone() for name, tensor in carry.buffers.items()}
        kept = {name: tensor.clone() for name, tensor in carry.extra.get("loss", {}).items()}
        elsewhere = carry._replace(
            parameters=uphill, buffers=buffers, extra={**carry.extra, "loss": kept}
        )
        return super().gradients(elsewhere, batch, phase)[0], metrics

    def uphill(self, parameters: Tensors, slopes: Tensors) -> Tensors:
        """θ + ρ g/‖g‖ for the parameters that have a slope, the others as they are."""
        squares = torch.stack([slope.square().sum() for slope in slopes.values()])
        scale = self.rho / squares.sum().sqrt().clamp(min=EPS)
        return {**parameters, **{name: parameters[name] + scale * slopes[name] for name in slopes}}
