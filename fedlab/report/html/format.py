"""Numbers as a reader likes them."""

from __future__ import annotations

import math

from fedlab.comparison.sentences import NONE


def per_cent(value: float, digits: int = 1) -> str:
    """``86.2`` of 0.862; a dash where there is no number."""
    return NONE if math.isnan(value) else f"{100 * value:.{digits}f}"


def with_deviation(value: float, deviation: float) -> str:
    """``86.2 ± 1.1``."""
    spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.1f}"
    return per_cent(value) + spread


def plural(count: int, thing: str) -> str:
    """``1 client``, ``12,000 clients``."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def joined(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
