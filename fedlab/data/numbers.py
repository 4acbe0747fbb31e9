"""Which text is a number: digits, a point and an exponent, and nothing that Python adds to them."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?inf(inity)?", re.IGNORECASE)


def number(text: str) -> float | None:
    """The number that a text is; None where it is none, as ``1_0`` or a digit of another script."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return None
