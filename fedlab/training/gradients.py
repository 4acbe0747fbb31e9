"""Gradients of an objective with respect to named tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fedlab.records import Tensors

Objective = Callable[[Tensors, Tensors], tuple[torch.Tensor, Any]]
"""(tensors to differentiate by, tensors it may write to) -> (scalar, anything worth keeping)."""

Differentiate = Callable[[Objective, Tensors, Tensors], tuple[Tensors, torch.Tensor, Any]]
"""(objective, its two arguments) -> (gradients by name, value, the objective's second result)."""


def value_and_gradients(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by ordinary autograd: the quick way for one client.

    Tensors that the objective does not use get a gradient of zeros.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, buffers)
    gradients = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True)), value.detach(), extra


def value_and_gradients_nested(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """The same by `torch.func`, which `torch.func.vmap` can take for many clients as one."""
    differentiated = torch.func.grad_and_value(objective, has_aux=True)
    gradients, (value, extra) = differentiated(at, buffers)
    return gradients, value, extra


def value_and_gradients_by_backward(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """The same by ``backward()``, for networks whose backward pass runs parts of them again.

    Checkpointing of PyTorch's reentrant kind works in no other way.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, buffers)
        value.backward()
    gradients = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in leaves.items()
    }
    return gradients, value.detach(), extra
