"""How updates become one: exact sums, in an order that does not depend on who answered first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedlab.federation.weighted_sum import WeightedSum
from fedlab.records import Tensors


def weighted_mean(
    updates: Sequence[Tensors], weights: Sequence[float], kept: Collection[str] = ()
) -> Tensors:
    """The weighted mean of named tensors, summed in float64, with dtypes kept.

    Integer tensors (a batch normalisation's step counter) are not averaged: the largest is taken,
    which does not depend on the order either.

    Args:
        updates: One dictionary of tensors per client, all with the same names and shapes.
        weights: One non-negative number per client; they need not sum to one.
        kept: Names of tensors that are not averaged: that of the last client that counts is taken.

    Raises:
        ValueError: If the weights do not have a positive sum or names differ.
    """
    total = WeightedSum(kept)
    total.add([{"": update} for update in updates], weights)
    return total.mean("")
