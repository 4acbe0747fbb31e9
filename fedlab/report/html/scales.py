"""Scales of axes: from numbers to coordinates, and round numbers for ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fedlab.metrics.metric_set import Score


@dataclass(frozen=True)
class Scale:
    """A linear scale.

    Attributes:
        low: The number at the start.
        high: The number at the end.
        start: Where the start is, in pixels.
        end: Where the end is.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a number."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5, least: float = 0.0) -> list[float]:
    """About `about` round numbers (1, 2 or 5 times a power of ten) within a range.

    Args:
        low: Where the range begins.
        high: Where it ends.
        about: How many are wanted.
        least: Least distance between two: 1 for what is counted.
    """
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / about))
    step = min((power * k for k in (1, 2, 5, 10)), key=lambda step: abs(span / step - about))
    step = max(step, least)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def around(values: Iterable[float], least: float = 0.05) -> tuple[float, float]:
    """A range with a margin around numbers, NaN left out; not narrower than a minimum."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    air = max(0.06 * (high - low), (least - (high - low)) / 2, 1e-9)
    return low - air, high + air


def label_of_tick(value: float, score: Score) -> str:
    """A round number along an axis of scores; a share in per cent."""
    return f"{100 * value:.0f}" if score.share else f"{value:.4g}"


def scores(values: Iterable[float], score: Score) -> tuple[float, float]:
    """The range for an axis of scores; that of shares is round, and never past 0 and 1."""
    if not score.share:
        return around(values)
    low, high = around(values, least=0.1)
    step = 0.1 if high - low > 0.25 else 0.05
    return max(0.0, math.floor(low / step) * step), min(1.0, math.ceil(high / step) * step)


def apart(places: list[float], distance: float, low: float, high: float) -> list[float]:
    """Places moved as little as it takes to keep labels a distance apart, within bounds.

    Args:
        places: Where labels would be, in any order.
        distance: Least distance between two.
        low: Least place.
        high: Largest place.
    """
    order = sorted(range(len(places)), key=lambda k: places[k])
    moved = list(places)
    floor = low
    for k in order:
        moved[k] = floor = max(places[k], floor)
        floor += distance
    ceiling = high
    for k in reversed(order):
        moved[k] = ceiling = min(moved[k], ceiling)
        ceiling -= distance
    return moved
