"""Gradients of an objective with respect to named tensors.

As in PyTorch, a tensor that a step's objective does not depend on has no gradient. This differs
from a gradient of zeros: optimisers then skip the tensor, including momentum and weight decay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fedlab.constants import constant
from fedlab.records import Tensors

Objective = Callable[[Tensors, Tensors], tuple[torch.Tensor, Any]]
"""(tensors to differentiate by, tensors it may write to) -> (scalar, auxiliary result)."""

Differentiate = Callable[[Objective, Tensors, Tensors], tuple[Tensors, torch.Tensor, Any]]
"""(objective, its two arguments) -> (gradients by name, value, the objective's second result).

Tensors that the objective did not use have no entry.
"""


def value_and_gradients(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """Gradients by ordinary autograd, the fastest for one client."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, buffers)
    start = constant((1.0,), value.dtype, value.device).view(
        ()
    )  # PyTorch would make one every time
    gradients = torch.autograd.grad(
        value, list(leaves.values()), grad_outputs=start, allow_unused=True
    )
    return known(dict(zip(leaves, gradients, strict=True))), value.detach(), extra


def value_and_gradients_by_backward(
    objective: Objective, at: Tensors, buffers: Tensors
) -> tuple[Tensors, torch.Tensor, Any]:
    """The same by ``backward()``, for networks with activation checkpointing.

    PyTorch's reentrant checkpointing does not work with `torch.autograd.grad`.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
    with torch.enable_grad():
        value, extra = objective(leaves, buffers)
        value.backward()
    return known({name: leaf.grad for name, leaf in leaves.items()}), value.detach(), extra


def known(gradients: Mapping[str, torch.Tensor | None]) -> Tensors:
    """The gradients without the names whose gradient is None."""
    return {name: grad for name, grad in gradients.items() if grad is not None}


def with_zeros(gradients: Tensors, parameters: Tensors) -> Tensors:
    """The gradients with zeros for parameters that have none, for methods that add to them.

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


def forked(parameters: Tensors) -> tuple[Tensors, Tensors]:
    """The parameters twice, for two passes of a network in one objective.

    Autograd adds up the gradients of both passes tensor by tensor, and here in one call. Under
    transforms of `torch.func` they are what was given.
    """
    if torch._C._functorch.maybe_current_level() is not None:  # type: ignore[attr-defined]
        return parameters, parameters
    made = _Forked.apply(*parameters.values())
    first, second = made[: len(parameters)], made[len(parameters) :]
    return tuple(dict(zip(parameters, each, strict=True)) for each in (first, second))  # type: ignore[return-value]


class _Forked(torch.autograd.Function):
    """Tensors -> views of them, twice."""

    @staticmethod
    def forward(ctx: Any, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """The views."""
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for _ in range(2) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        """The sums; None for a tensor that neither pass has used."""
        half = len(grads) // 2
        pairs = list(zip(grads[:half], grads[half:], strict=True))
        both = [pair for pair in pairs if pair[0] is not None and pair[1] is not None]
        sums = iter(torch._foreach_add(*map(list, zip(*both, strict=True))) if both else ())  # type: ignore[arg-type]
        return tuple(
            next(sums) if one is not None and other is not None else one if other is None else other
            for one, other in pairs
        )
