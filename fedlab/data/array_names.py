"""Detects spellings of array names."""

from __future__ import annotations

import difflib
import re


def alike(name: str, wanted: str) -> bool:
    """Whether a name is another spelling of one: ``X_test``, ``xtest``, ``test_x``, ``x_tst``."""
    one, other = (re.findall(r"[a-z]+|[0-9]+", each.casefold()) for each in (name, wanted))
    same = sorted(one) == sorted(other) or "".join(one) == "".join(other)
    return same or difflib.SequenceMatcher(None, name.casefold(), wanted.casefold()).ratio() > 0.8
