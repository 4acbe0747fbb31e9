"""Parses decimal numbers: digits, a point and an exponent, without Python's extensions."""

from __future__ import annotations

import math
import re

EXACT = 2.0**53
"""Below it every whole number has a value of its own in double precision."""

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?inf(inity)?", re.IGNORECASE)


def number(text: str) -> float | None:
    """The number in a text; None if it is not one, as ``1_0`` or a digit of another script."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return None
