"""A confusion matrix: labels down, predictions across."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from fedlab.report.html.svg import Element, element, picture, text

SIDE, LEFT, TOP = 300.0, 34.0, 8.0
READABLE = 12
"""Classes up to which each cell's count can be read."""
NUMBERED = 30
"""Classes up to which rows and columns are numbered."""


def confusion_chart(matrix: np.ndarray, *, label: str) -> Markup:
    """Draws a square for each pair of label and prediction that occurs.

    Args:
        matrix: Samples by label and prediction, shape (classes, classes).
        label: What the picture shows, for those who cannot see it.
    """
    classes = len(matrix)
    cell = SIDE / classes
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    drawn: list[Element] = [element("rect", x=LEFT, y=TOP, width=SIDE, height=SIDE, class_="frame")]
    for row, column in zip(*np.nonzero(matrix), strict=True):
        share, count = float(shares[row, column]), int(matrix[row, column])
        x, y = LEFT + cell * column, TOP + cell * row
        title = element("title", f"label {row}, predicted {column}: {count:,} ({share:.1%})")
        kind = "area k4" if row == column else "area k1"
        square = element(
            "rect", title, x=x, y=y, width=cell, height=cell, class_=kind, opacity=f"{share:.2f}"
        )
        drawn.append(square)
        if classes <= READABLE:
            drawn.append(text(f"{count}", x + cell / 2, y + cell / 2 + 4, "middle"))
    for index in range(classes) if classes <= NUMBERED else ():
        middle = cell * (index + 0.5) + 4
        drawn.append(text(str(index), LEFT - 8, TOP + middle, "end"))
        drawn.append(text(str(index), LEFT + middle - 4, TOP + SIDE + 14, "middle"))
    drawn.append(text("predicted", LEFT + SIDE, TOP + SIDE + 30, "end", "axis-title"))
    return picture(LEFT + SIDE + 8, TOP + SIDE + 36, label, *drawn, kind="confusion")
