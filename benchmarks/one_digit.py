"""Numbers to one digit, alike in every table and sentence."""

from __future__ import annotations

from fedlab.comparison.statistics import PairedDifference


def plain(value: float) -> str:
    """To one digit; by way of the three that rows and curves have, so that both read alike."""
    return f"{round(value, 3):.1f}"


def signed(value: float) -> str:
    """With a sign, but for what is zero to one digit."""
    text = f"{round(value, 3):+.1f}"
    return text[1:] if text in {"+0.0", "-0.0"} else text


def interval(found: PairedDifference) -> str:
    """``[-0.1, +7.9]``."""
    return f"[{signed(found.low)}, {signed(found.high)}]"


def with_interval(found: PairedDifference) -> str:
    """``+3.9 [-0.1, +7.9]``."""
    return f"{signed(found.mean)} {interval(found)}"
