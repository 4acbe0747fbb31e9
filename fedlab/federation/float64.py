"""Fast float64 sums of float32 tensors, in blocks that fit into a core's cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.accelerator import exact, is_accelerator

CACHED = 2**15
"""Block size in values, whose float64 copies stay in a core's cache while they are added."""

SMALL = 2**13
"""Number of values below which one block is faster than several."""

BLOCK, GPU_COLUMNS = 2**17, 2**20
"""A block of `sum_of_stack`: values of all clients together on a CPU, where a megabyte of doubles
stays in a core's cache; values of each client on a GPU."""


def weighted(values: torch.Tensor, weight: float) -> torch.Tensor:
    """``weight * values`` in float64, in new memory with the same strides.

    On a device without float64, that memory is the CPU's.
    """
    values = exact(values)
    total = torch.empty_like(values, dtype=torch.float64)
    if weight == 1:
        return total.copy_(values)
    if _at_once(values) or total.stride() != values.stride():
        return total.copy_(values).mul_(weight)
    for part, piece in zip(_flat(total).split(CACHED), _flat(values).split(CACHED), strict=True):
        part.copy_(piece).mul_(weight)
    return total


def accumulate(
    total: torch.Tensor, values: Sequence[torch.Tensor], weights: Sequence[float]
) -> None:
    """Adds weighted values to a sum, one after the other; for integers, takes the maximum."""
    if not values:
        return
    if values[0].device != total.device:
        values = [value.to(total.device) for value in values]
    if not values[0].is_floating_point():
        for value in values:
            torch.maximum(total, value, out=total)
        return
    if _at_once(total) or any(value.stride() != total.stride() for value in values):
        for value, weight in zip(values, weights, strict=True):
            total.add_(value, alpha=weight)
        return
    # On a CPU, adding mixed types takes PyTorch twice as long as converting first. A block of the
    # sum stays in the cache until all clients are added.
    buffer = torch.empty(min(CACHED, total.numel()), dtype=total.dtype)
    pieces = [_flat(value).split(CACHED) for value in values]
    for index, part in enumerate(_flat(total).split(CACHED)):
        converted = buffer[: len(part)]
        for piece, weight in zip(pieces, weights, strict=True):
            part.add_(converted.copy_(piece[index]), alpha=weight)


def sum_of_stack(stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum of floating-point tensors over their first axis, in float64."""
    stack = exact(stack)
    weight = torch.tensor(weights, dtype=torch.float64, device=stack.device)
    flat = stack.flatten(1)
    total = torch.empty(flat.shape[1], dtype=torch.float64, device=stack.device)
    columns = GPU_COLUMNS if is_accelerator(stack.device) else max(BLOCK // len(flat), 512)
    for part, piece in zip(total.split(columns), flat.split(columns, dim=1), strict=True):
        torch.mv(piece.double().t(), weight, out=part)
    return total.view(stack.shape[1:])


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor's values in the order of memory (tensors may be channels-last)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _at_once(tensor: torch.Tensor) -> bool:
    """Whether one block is faster than several: on a GPU, and for small tensors."""
    return is_accelerator(tensor.device) or tensor.numel() < SMALL
