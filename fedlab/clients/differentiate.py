"""Gradients of an objective with respect to named tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from fedlab.records import Tensors

Objective = Callable[..., tuple[torch.Tensor, Any]]
"""(named tensors, anything else it needs) -> (scalar to minimise, anything else worth keeping)."""


class Differentiate(Protocol):
    """How gradients of an objective are taken."""

    def __call__(
        self, objective: Objective, at: Tensors, *others: Any
    ) -> tuple[Tensors, torch.Tensor, Any]:
        """Differentiates ``objective(at, *others)`` with respect to `at`.

        Tensors that the objective writes to, such as running statistics, must be among `others`.
        Tensors of `at` that it does not use get a gradient of zeros.

        Returns:
            The gradients by name, the value, and the objective's second result.
        """
        ...


def value_and_gradients(
    objective: Objective, at: Tensors, *others: Any
) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by ordinary autograd: the quick way for one client."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, *others)
    gradients = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True)), value.detach(), extra


def value_and_gradients_nested(
    objective: Objective, at: Tensors, *others: Any
) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by `torch.func`, which `torch.func.vmap` can take for many clients as one."""
    differentiated = torch.func.grad_and_value(objective, has_aux=True)
    gradients, (value, extra) = differentiated(at, *others)
    return gradients, value, extra
