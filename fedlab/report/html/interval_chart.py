"""A chart of one number for each method with its interval, a row for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fedlab.report.html.scales import Scale, around, ticks
from fedlab.report.html.svg import element, line, mark, picture, text
from fedlab.report.units import short

ROW, TOP, BOTTOM, WIDTH = 40.0, 4.0, 24.0, 320.0
LONGEST = 24  # letters of a label that leave room for the number


@dataclass(frozen=True)
class IntervalRow:
    """A number and its interval.

    Attributes:
        label: The method.
        style: Its colour and sign.
        value: The number; NaN where there is none.
        low: Lower end of the interval, NaN where there is none.
        high: Its upper end.
        words: The number as it is written.
    """

    label: str
    style: int
    value: float
    low: float
    high: float
    words: str


def interval_chart(
    rows: Sequence[IntervalRow],
    *,
    label: str,
    tick_text: Callable[[float], str],
    zero: bool = False,
) -> Markup:
    """Draws a marker at each number and a line over its interval.

    Args:
        rows: The numbers.
        label: What the picture shows, for those who cannot see it.
        tick_text: How a number of the axis is written.
        zero: Whether the numbers are differences, so that a line is drawn at 0.
    """
    height = TOP + ROW * len(rows) + BOTTOM
    numbers = [number for row in rows for number in (row.value, row.low, row.high)]
    across = Scale(*around([*numbers, 0.0] if zero else numbers), 8.0, WIDTH - 8)
    bottom = height - BOTTOM
    drawn = []
    for value in ticks(across.low, across.high, 5):
        x = across(value)
        kind = "axis" if zero and value == 0 else "grid"
        drawn.append(line(x, TOP, x, bottom, kind))
        drawn.append(text(tick_text(value), x, bottom + 15, "middle"))
    for place, row in enumerate(rows):
        top = TOP + ROW * place
        y = top + 28
        drawn.append(text(short(row.label, LONGEST), across.start, top + 15, None, "name"))
        drawn.append(text(row.words, across.end, top + 15, "end", "value"))
        if math.isfinite(row.low):
            kind = f"interval m{row.style % 8}"
            drawn.append(line(across(row.low), y, across(row.high), y, kind))
        if math.isfinite(row.value):
            drawn.append(mark(row.style, across(row.value), y))
    return picture(WIDTH, height, label, element("g", *drawn), kind="intervals")
