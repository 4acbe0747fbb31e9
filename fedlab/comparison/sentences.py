"""What a column of a comparison's table is, once its numbers are words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas

NONE = "-"
"""Stands where there is no number."""


@dataclass(frozen=True)
class Column:
    """A column of a table in words.

    Attributes:
        title: What stands above.
        cells: One for each group.
        best: Whether a cell holds the best of them.
        number: Whether it holds numbers, which stand on the right.
    """

    title: str
    cells: Sequence[str]
    best: Sequence[bool]
    number: bool = True


def words(title: str, cells: Sequence[str], number: bool = False) -> Column:
    """A column of words, none of which is the best."""
    return Column(title, cells, [False] * len(cells), number)


def rows(frame: pandas.DataFrame) -> list[Any]:
    """The rows of a table, one for each group."""
    return [frame.iloc[place] for place in range(len(frame))]


def percentages(frame: pandas.DataFrame, measure: str, deviations: bool = True) -> list[str]:
    """A share between 0 and 1 of each group in per cent, with its deviation over seeds."""
    told = []
    for row in rows(frame):
        mean, deviation = 100 * row[measure, "mean"], 100 * row[measure, "deviation"]
        spread = f" ± {deviation:.1f}" if deviations and not math.isnan(deviation) else ""
        told.append(NONE if math.isnan(mean) else f"{mean:.1f}{spread}")
    return told
