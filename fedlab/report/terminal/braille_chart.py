"""Line charts of Braille characters: each character cell has two by four dots."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille sign (added to U+2800), by row and column of the dot in its cell."""

Points = Sequence[tuple[float, float]]


def line_chart(curves: Sequence[tuple[str, Points]], width: int, height: int) -> Text:
    """Draws curves over each other, the last one on top.

    Args:
        curves: The style (a colour of rich) of each, and its points in the order of x.
        width: Columns, axis labels included.
        height: Rows, the labels of the x axis included.
    """
    points = [point for _, curve in curves for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = _range([y for _, y in points])
    columns, rows = max(width - 7, 4), max(height - 1, 2)
    bits = [[0] * columns for _ in range(rows)]
    styles = [[""] * columns for _ in range(rows)]

    def mark(x: int, y: int, style: str) -> None:
        row, column = y // 4, x // 2
        bits[row][column] |= DOTS[y % 4][x % 2]
        styles[row][column] = style

    for style, curve in curves:
        dots = [
            (
                round((x - left) / max(right - left, 1e-12) * (2 * columns - 1)),
                round((high - y) / (high - low) * (4 * rows - 1)),
            )
            for x, y in curve
        ]
        for start, end in zip(dots, dots[1:] or dots, strict=False):
            for x, y in _segment(start, end):
                mark(x, y, style)

    text = Text()
    labelled = {0: high, rows // 2: high - (high - low) * (rows // 2 + 0.5) / rows, rows - 1: low}
    for row in range(rows):
        label = f"{labelled[row]:5.2f}" if row in labelled else " " * 5
        text.append(f"{label} {'┤' if row in labelled else '│'}", "dim")
        for sign, style in zip(bits[row], styles[row], strict=True):
            text.append(chr(0x2800 + sign) if sign else " ", style)
        text.append("\n")
    ends = f"{left:g}", f"{right:g}"
    gap = columns - len(ends[0]) - len(ends[1])
    text.append(" " * 7 + ends[0] + " " * gap + ends[1] * (right > left), "dim")
    return text


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A range of tenths that holds all values."""
    low, high = math.floor(min(values) * 10) / 10, math.ceil(max(values) * 10) / 10
    return (low, high) if high > low else (low, low + 0.1)


def _segment(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight line, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * step / steps),
            round(start[1] + (end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
