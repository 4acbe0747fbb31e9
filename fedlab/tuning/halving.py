"""Successive halving: after a quarter and a half of the rounds, the better half goes on.

Non-stochastic Best Arm Identification and Hyperparameter Optimization, Jamieson, Talwalkar, AISTATS
2016, arXiv 1502.07943. No draw is given up before a quarter of the rounds, since methods for skewed
data often start late; every method keeps as many draws as any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def rungs(rounds: int) -> list[int]:
    """The rounds after which draws are given up, and the last round."""
    return sorted({math.ceil(rounds / 4), math.ceil(rounds / 2), rounds})


def better_half(scores: Mapping[int, float]) -> list[int]:
    """The draws that go on: half of them, rounded up, by score, the highest first.

    Args:
        scores: A score for each draw that is left; NaN is worse than any number.
    """
    ranked = sorted(scores, key=lambda n: (math.isnan(scores[n]), -scores[n], n))
    return sorted(ranked[: math.ceil(len(ranked) / 2)])
