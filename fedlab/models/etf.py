"""A simplex equiangular tight frame (ETF) as a classifier that never learns."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import normalize


class SimplexETF(nn.Module):
    """Outputs β Vᵀ h/‖h‖: cosines between features and fixed class vectors, times a scale.

    Args:
        features: d, length of its inputs; at least the number of classes.
        classes: C.
        scale: β at the start; it learns.
    """

    def __init__(self, features: int, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        basis, _ = torch.linalg.qr(torch.randn(features, classes))
        # A frozen parameter and no buffer: in the state dict, never sent, and no optimiser sees it.
        self.vectors = nn.Parameter(simplex(basis), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(batch, features) -> (batch, classes)."""
        return self.scale * (normalize(inputs, dim=-1) @ self.vectors)


def simplex(basis: torch.Tensor) -> torch.Tensor:
    """√(C/(C-1)) U (I - 11ᵀ/C): unit columns whose cosines are all -1/(C-1).

    Args:
        basis: U with orthonormal columns, shape (features, classes).
    """
    classes = basis.shape[1]
    return math.sqrt(classes / (classes - 1)) * (basis - basis.mean(dim=1, keepdim=True))
