"""FedAdam, strategy: the server steps along the clients' mean change by Adam's rule.

Adaptive Federated Optimization, Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan,
ICLR 2021, arXiv 2003.00295.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

import torch
from pydantic import Field

from fedlab.strategies.families.fedopt import Adaptive, AdaptiveParameters


class FedAdamParameters(AdaptiveParameters):
    """FedAdam's parameters.

    Attributes:
        beta_2: β₂, how much of the mean square is kept from round to round.
    """

    name: str = "fedadam"
    beta_2: float = Field(default=0.99, ge=0, lt=1)


class FedAdam(Adaptive[FedAdamParameters]):
    """v ← β₂ v + (1 - β₂) Δ²."""

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The fading mean of squares."""
        return v.lerp(change.square(), 1 - self.parameters.beta_2)
