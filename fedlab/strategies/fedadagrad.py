"""FedAdagrad, strategy: the server steps along the clients' mean change by Adagrad's rule.

Adaptive Federated Optimization, Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan,
ICLR 2021, arXiv 2003.00295.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

import torch
from pydantic import Field

from fedlab.strategies.families.fedopt import Adaptive, AdaptiveParameters


class FedAdagradParameters(AdaptiveParameters):
    """FedAdagrad's parameters; no momentum by default, as in Adagrad."""

    name: str = "fedadagrad"
    beta_1: float = Field(default=0.0, ge=0, lt=1)


class FedAdagrad(Adaptive[FedAdagradParameters]):
    """v ← v + Δ²."""

    def square(self, v: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """The sum of squares."""
        return v + change.square()
