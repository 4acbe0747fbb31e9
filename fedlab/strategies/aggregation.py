"""How updates become one: exact sums, in an order that does not depend on who answered first."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.records import Tensors


def weighted_mean(updates: Sequence[Tensors], weights: Sequence[float]) -> Tensors:
    """The weighted mean of named tensors, summed in float64, with dtypes kept.

    Integer tensors (a batch normalisation's step counter) are not averaged: the largest is taken,
    which does not depend on the order either.

    Args:
        updates: One dictionary of tensors per client, all with the same names and shapes.
        weights: One non-negative number per client; they need not sum to one.

    Raises:
        ValueError: If the weights do not have a positive sum or names differ.
    """
    total = float(sum(weights))
    if not total > 0:
        raise ValueError(f"the weights of {len(weights)} updates sum to {total}")
    names = updates[0].keys()
    if any(update.keys() != names for update in updates):
        raise ValueError("clients sent different sets of tensors; the method must drop the same")
    mean: Tensors = {}
    for name in names:
        first = updates[0][name]
        if first.is_floating_point():
            accumulator = torch.zeros_like(first, dtype=torch.float64)
            for update, weight in zip(updates, weights, strict=True):
                accumulator.add_(update[name], alpha=weight / total)
            mean[name] = accumulator.to(first.dtype)
        else:
            mean[name] = torch.stack([update[name] for update in updates]).amax(dim=0)
    return mean
