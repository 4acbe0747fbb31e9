"""The table of all methods: what each is for, what it costs, and where its numbers are.

Of a page's front matter it reads ``since``, ``skew`` and ``steps``.
"""

from __future__ import annotations

import re

import method_results
import tables
from repository import ROOT

from fedlab.config import registry

HEAD = (
    "method",
    "since",
    "skew",
    "what goes up",
    "steps",
    "bytes up",
    "bytes down",
    "numbers",
)
FRONT_MATTER = ("since", "skew", "steps")
"""Keys of a page's front matter that are columns."""
NONE = "-"
"""Stands for the messages of a method that runs on no device."""


def overview() -> str:
    """One row for each method."""
    messages = _messages()
    base = messages["fedavg"]
    rows = []
    for name in registry.BUILTIN["strategies"]:
        text = (ROOT / "docs" / "methods" / f"{name}.md").read_text("utf-8")
        title = _match(r"^# (.+)", text)
        what, against = NONE, [NONE, NONE]
        if name in messages:
            *sizes, what = messages[name]
            against = [_times(size, whole) for size, whole in zip(sizes, base, strict=False)]
        since, skew, steps = (_match(rf'^{key}: "?(.+?)"?$', text) for key in FRONT_MATTER)
        numbers = method_results.where(name, title)
        rows.append((f"[{title}]({name}.md)", since, skew, what, steps, *against, numbers))
    return tables.table(HEAD, rows)


def _messages() -> dict[str, list[str]]:
    """A client's bytes up, bytes down and what goes up, by method, from docs/deploy.md."""
    return {
        method.strip("`"): cells[:3]
        for found in tables.result_tables((ROOT / "docs/deploy.md").read_text("utf-8"))
        for method, *cells in found.rows
        if found.head[1:3] == ["up", "down"]
    }


def _times(size: str, base: str) -> str:
    """A size such as ``670.6 kB (once: 15.0 MB)`` as a multiple of another, with what is beside."""
    number, _, beside = size.partition(" (")
    times = f"{_bytes(number) / _bytes(base):.2f}".rstrip("0").rstrip(".")
    return times + f" ({beside}" * bool(beside)


def _bytes(size: str) -> float:
    value, unit = size.split()
    return float(value) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""
