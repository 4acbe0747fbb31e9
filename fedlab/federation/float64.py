"""Adding up tensors of single precision in double precision, as quickly as memory allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

CACHED = 2**15
"""Values whose double-precision copies stay in a core's cache while they are added."""

SMALL = 2**13
"""Values that are quicker added at once."""

COLUMNS, GPU_COLUMNS = 2**12, 2**20
"""Values of each client that are added up at once, on a CPU and on a GPU."""


def weighted(values: torch.Tensor, weight: float) -> torch.Tensor:
    """``weight * values`` in float64, in memory of its own, in the same order."""
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
    """Adds weighted values to a sum, one after the other; of integers it keeps the largest."""
    if not values:
        return
    if not values[0].is_floating_point():
        for value in values:
            torch.maximum(total, value, out=total)
        return
    if _at_once(total) or any(value.stride() != total.stride() for value in values):
        for value, weight in zip(values, weights, strict=True):
            total.add_(value, alpha=weight)
        return
    # PyTorch adds mixed types on a CPU at half the speed of converting and then adding; and a part
    # of the sum stays in the cache until all clients are in it.
    buffer = torch.empty(min(CACHED, total.numel()), dtype=total.dtype)
    pieces = [_flat(value).split(CACHED) for value in values]
    for index, part in enumerate(_flat(total).split(CACHED)):
        converted = buffer[: len(part)]
        for piece, weight in zip(pieces, weights, strict=True):
            part.add_(converted.copy_(piece[index]), alpha=weight)


def sum_of_stack(stack: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted sum of floating-point tensors over their first axis, in float64."""
    weight = torch.tensor(weights, dtype=torch.float64, device=stack.device)
    flat = stack.flatten(1)
    total = torch.empty(flat.shape[1], dtype=torch.float64, device=stack.device)
    columns = GPU_COLUMNS if stack.is_cuda else COLUMNS
    for part, piece in zip(total.split(columns), flat.split(columns, dim=1), strict=True):
        torch.mv(piece.double().t(), weight, out=part)
    return total.view(stack.shape[1:])


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor's values in the order of memory (tensors may be channels-last)."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _at_once(tensor: torch.Tensor) -> bool:
    """Whether nothing is gained by working on one part of a tensor after the other."""
    return tensor.is_cuda or tensor.numel() < SMALL
