"""Weighted means of updates in float64, in the order of clients."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedlab.federation.weighted_sum import WeightedSum
from fedlab.records import Tensors


def weighted_mean(
    updates: Sequence[Tensors], weights: Sequence[float], kept: Collection[str] = ()
) -> Tensors:
    """The weighted mean of named tensors, summed in float64, with dtypes kept.

    For integer tensors (a batch normalisation's step counter) the largest is taken.

    Args:
        updates: One dictionary of tensors per client, all with the same names and shapes.
        weights: One non-negative number per client; they need not sum to one.
        kept: Names of tensors that are not averaged: that of the last client with a positive
            weight is taken.

    Raises:
        ValueError: If the weights do not have a positive sum or names differ.
    """
    total = WeightedSum(kept)
    total.add([{"": update} for update in updates], weights)
    return total.mean("")
