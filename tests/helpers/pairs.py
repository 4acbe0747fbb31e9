"""Products of parameters; each run takes those in which every two values meet once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pytest

Pair = tuple[int, Any, int, Any]


def pairs_first(*factors: Sequence[Any]) -> list[Any]:
    """All combinations, for ``pytest.mark.parametrize``; those that bring no new pair are slow.

    Args:
        factors: Names or other values that can be hashed, a sequence for each argument.
    """
    combined = list(product(*factors))
    pairs = {each: _pairs(each) for each in combined}
    missing = set[Pair]().union(*pairs.values())
    first = set()
    while missing:
        best = max(combined, key=lambda each: len(pairs[each] & missing))
        first.add(best)
        missing -= pairs[best]
    return [
        pytest.param(*each, marks=() if each in first else pytest.mark.slow) for each in combined
    ]


def _pairs(values: Sequence[Any]) -> set[Pair]:
    """Every two of some values, each with its place."""
    return {(i, one, j, other) for (i, one), (j, other) in combinations(enumerate(values), 2)}
