"""FedYogi, strategy: the server steps along the clients' mean change by Yogi's rule.

Adaptive Federated Optimization, Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan,
ICLR 2021, arXiv 2003.00295.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat

from fedlab.strategies.families.fedopt import Adaptive
from fedlab.strategies.fedadam import FedAdamParameters


class FedYogiParameters(FedAdamParameters):
    """FedYogi's parameters; defaults are those of Flower, whose learning rate here is 0.01."""

    name: str = "fedyogi"
    server_lr: PositiveFloat = 0.01


class FedYogi(Adaptive[FedYogiParameters]):
    """v ← v - (1 - β₂) Δ² sign(v - Δ²)."""

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """Moves v towards Δ² by a share of Δ², not of the difference."""
        square, beta_2 = change.square(), self.parameters.beta_2
        return v - (1 - beta_2) * square * (v - square).sign()
