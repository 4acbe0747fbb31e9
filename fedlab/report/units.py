"""Durations and sizes in readable units."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """``4.1 s``, ``68 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """``12 B``, ``3.4 kB``, ``5.6 MB``, ``7.8 GB``; a kB is 1,000 bytes."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def number_or_dash(value: float) -> str:
    """``0.812``; a dash where there is no number."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def short(name: str, longest: int) -> str:
    """A name cut to so many letters, an ellipsis included."""
    return name if len(name) <= longest else name[: max(1, longest - 1)] + "…"
