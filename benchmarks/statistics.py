"""What repeated timings say: medians, their spread, and ratios within a repeat."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds a round over several repeats.

    Attributes:
        median: Median of all rounds of all repeats.
        low: Smallest median of a repeat.
        high: Largest median of a repeat.
        rounds: Rounds behind it.
    """

    median: float
    low: float
    high: float
    rounds: int


def timing(repeats: Sequence[Sequence[float]]) -> Timing:
    """Sums up repeats, each the seconds of some rounds.

    Raises:
        ValueError: If there is no repeat, or one without rounds.
    """
    if not repeats or not all(repeats):
        raise ValueError("every repeat needs at least one round")
    medians = [statistics.median(each) for each in repeats]
    rounds = [seconds for each in repeats for seconds in each]
    return Timing(statistics.median(rounds), min(medians), max(medians), len(rounds))


def ratio(repeats: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """How many times slower than a reference, judged within each repeat.

    Repeats are interleaved (A B C, A B C), so that what slows the machine down for a while slows
    all runners of a repeat; the median over repeats is what is left.

    Raises:
        ValueError: If the two have no repeat in common.
    """
    pairs = [
        statistics.median(mine) / statistics.median(other)
        for mine, other in zip(repeats, reference, strict=False)
    ]
    if not pairs:
        raise ValueError("there is no repeat to compare")
    return statistics.median(pairs)


def number(value: float | None) -> str:
    """Four digits after the point, or nothing where there is no number."""
    return "" if value is None else f"{value:.4f}"
