"""Adaptive gradient clipping: a unit moves by at most a share of the norm of its weights.

Brock, De, Smith and Simonyan, "High-Performance Large-Scale Image Recognition Without
Normalization", ICML 2021, arXiv 2102.06171.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor


def adaptive_gradient_clip(
    parameters: dict[str, Tensor],
    gradients: dict[str, Tensor],
    clipping: float,
    eps: float = 1e-3,
    skip: Collection[str] = (),
) -> dict[str, Tensor]:
    """Scales down the gradient of each unit whose norm is large beside that of its weights.

    A unit is a row of a weight matrix, the kernel of one output channel, or a whole vector. For
    weights W_i and gradient G_i of a unit,

        G_i <- λ · max(|W_i|, eps) / |G_i| · G_i    if |G_i| > λ · max(|W_i|, eps)

    Args:
        parameters: Tensors of one client by name; raw weights, not standardised ones.
        gradients: Their gradients, of the same names and shapes.
        clipping: λ.
        eps: Least norm of a unit's weights, so that zero weights can grow.
        skip: Names whose gradient passes as it is; usually those of the head.

    Returns:
        The gradients by name, as new tensors where clipped. For many clients at once use
        `torch.func.vmap`: nothing here depends on values but through tensors.
    """
    return {
        name: gradient if name in skip else _clip(parameters[name], gradient, clipping, eps)
        for name, gradient in gradients.items()
    }


def _clip(weight: Tensor, gradient: Tensor, clipping: float, eps: float) -> Tensor:
    limit = clipping * _unit_norms(weight).clamp(min=eps)
    norm = _unit_norms(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
    return gradient * (limit / norm).clamp(max=1)


def _unit_norms(tensor: Tensor) -> Tensor:
    units = tuple(range(1, tensor.ndim)) or None
    return torch.linalg.vector_norm(tensor, dim=units, keepdim=True)
