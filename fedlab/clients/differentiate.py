"""Gradients of an objective with respect to named tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fedlab.records import Tensors

Objective = Callable[[Tensors], tuple[torch.Tensor, Any]]
"""Named tensors -> (scalar to minimise, anything else worth keeping)."""

Differentiate = Callable[[Objective, Tensors], tuple[Tensors, torch.Tensor, Any]]
"""(objective, tensors) -> (gradients by name, value, the objective's second result)."""


def value_and_gradients(objective: Objective, at: Tensors) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by ordinary autograd: the quick way for one client.

    Tensors that the objective does not use get a gradient of zeros.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves)
    gradients = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True)), value.detach(), extra
