"""Gradients inside of `torch.func.vmap`, without the compiler that PyTorch loads for them.

`torch.func.grad_and_value` switches compiled autograd off while it differentiates, and to do so
imports `torch._dynamo` with SymPy and Triton: 2 to 3 seconds of CPU time and about 150 MB in every
process that trains, for a compiler that fedlab does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._functorch import eager_transforms

from fedlab.records import Tensors

PARTS = (
    *("grad_increment_nesting", "_wrap_all_tensors"),
    *("_create_differentiable", "_undo_create_differentiable"),
)
"""What `torch.func` is made of and this is, too; not public, so that it may get other names."""

UNSUPPORTED = "saved tensor hooks are not supported by torch.func"
"""As PyTorch's own functions, which compute wrong gradients with such hooks."""


def value_and_gradients_nested(
    objective: Callable[[Tensors, Tensors], tuple[torch.Tensor, Any]],
    at: Tensors,
    buffers: Tensors,
) -> tuple[Tensors, torch.Tensor, Any]:
    """Takes the same operations as ``torch.func.grad_and_value(objective, has_aux=True)``.

    Args:
        objective: Gives a scalar and an auxiliary result, tensors in tuples and dicts.
        at: The tensors to differentiate by.
        buffers: Tensors that the objective may write to.

    Returns:
        Gradients by name (zeros for tensors that the objective did not use), the value, and the
        auxiliary result.
    """
    parts: Any = eager_transforms
    if not all(hasattr(parts, name) for name in PARTS):
        gradients, (value, extra) = torch.func.grad_and_value(objective, has_aux=True)(at, buffers)
        return gradients, value, extra
    with (
        torch.autograd.graph.disable_saved_tensors_hooks(UNSUPPORTED),
        parts.grad_increment_nesting() as level,
        torch.enable_grad(),
    ):
        inner = parts._wrap_all_tensors(at, level)
        parts._create_differentiable(inner, level)
        value, extra = objective(inner, parts._wrap_all_tensors(buffers, level))
        return parts._undo_create_differentiable((_gradients(value, inner), value, extra), level)


def _gradients(value: torch.Tensor, at: Tensors) -> Tensors:
    if not value.requires_grad:
        return {name: torch.zeros_like(tensor) for name, tensor in at.items()}
    found = torch.autograd.grad(value, list(at.values()), create_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(at.items(), found, strict=True)
    }
