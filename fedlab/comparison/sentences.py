"""Columns of a comparison's table as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from fedlab.metrics.metric_set import Score

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


def as_good(values: pandas.Series, score: Score) -> pandas.Series:
    """Whether each value equals the best after the rounding of tables, bool."""
    rounded = (score.sign * score.scale * values).round(score.digits)
    return rounded == rounded.max()


def numbers(
    frame: pandas.DataFrame, measure: str, score: Score, deviations: bool = True
) -> list[str]:
    """A score of each group, a share in per cent, with its deviation over seeds."""
    cells = []
    for row in rows(frame):
        mean, deviation = row[measure, "mean"], row[measure, "deviation"]
        known = deviations and not math.isnan(deviation)
        spread = f" ± {score.text(deviation)}" if known else ""
        cells.append(NONE if math.isnan(mean) else score.text(mean) + spread)
    return cells
