"""Formats of numbers for readers."""

from __future__ import annotations

import math

from fedlab.comparison.sentences import NONE
from fedlab.metrics.metric_set import Score


def formatted(value: float, score: Score) -> str:
    """``86.2`` of an accuracy of 0.862; a dash where there is no number."""
    return NONE if math.isnan(value) else score.text(value)


def with_deviation(value: float, deviation: float, score: Score) -> str:
    """``86.2 ± 1.1``."""
    spread = "" if math.isnan(deviation) else f" ± {score.text(deviation)}"
    return formatted(value, score) + spread


def capital(words: str) -> str:
    """The words with a capital first letter."""
    return words[:1].upper() + words[1:]


def plural(count: int, thing: str) -> str:
    """``1 client``, ``12,000 clients``."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def joined(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
