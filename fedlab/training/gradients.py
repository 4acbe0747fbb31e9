"""Gradients of an objective with respect to named tensors.

As in PyTorch, a tensor that a step's objective does not depend on has no gradient, which is another
thing than one of zeros: optimisers leave it alone, with its momentum and its weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fedlab.records import Tensors

Objective = Callable[[Tensors, Tensors], tuple[torch.Tensor, Any]]
"""(tensors to differentiate by, tensors it may write to) -> (scalar, anything worth keeping)."""

Differentiate = Callable[[Objective, Tensors, Tensors], tuple[Tensors, torch.Tensor, Any]]
"""(objective, its two arguments) -> (gradients by name, value, the objective's second result).

Names are missing of tensors that the objective did not use.
"""


def value_and_gradients(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by ordinary autograd: the quick way for one client."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, buffers)
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return known(dict(zip(leaves, gradients, strict=True))), value.detach(), extra


def value_and_gradients_nested(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """The same by `torch.func`, which `torch.func.vmap` can take for many clients as one.

    It gives zeros for what the objective did not use (see `fedlab.engine.execution.vmapped`).
    """
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
    return known({name: leaf.grad for name, leaf in leaves.items()}), value.detach(), extra


def known(gradients: Mapping[str, torch.Tensor | None]) -> Tensors:
    """The gradients that there are."""
    return {name: grad for name, grad in gradients.items() if grad is not None}


def with_zeros(gradients: Tensors, parameters: Tensors) -> Tensors:
    """A gradient for every parameter, of zeros where it has none: for methods that add to it.

    Args:
        gradients: By name.
        parameters: What is trained.
    """
    if len(gradients) == len(parameters):
        return gradients
    return {
        name: gradients[name] if name in gradients else torch.zeros_like(value)
        for name, value in parameters.items()
    }
