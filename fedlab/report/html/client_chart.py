"""A chart of the clients of each method by their accuracy: dots, or a histogram of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from fedlab.metrics.metric_set import ACCURACY_SCORE, Score
from fedlab.report.html.scales import Scale, label_of_tick, scores, ticks
from fedlab.report.html.svg import Element, element, line, picture, text
from fedlab.report.units import short

TOP, BOTTOM, BAND, HEADER = 4.0, 34.0, 44.0, 26.0
FEW = 300  # dots of a method up to which each can be seen
RADIUS = 4.0


@dataclass(frozen=True)
class Clients:
    """A method's clients.

    Attributes:
        label: The method.
        style: Its colour and sign.
        values: The score of every client, in every seed.
        names: What each of them is called.
        words: What is said of all of them.
    """

    label: str
    style: int
    values: Sequence[float]
    names: Sequence[str]
    words: str


def client_chart(
    methods: Sequence[Clients], width: float, *, label: str, score: Score = ACCURACY_SCORE
) -> Markup:
    """Draws the clients of each method along one axis, the median as a line across.

    Args:
        methods: The methods.
        width: Width of the picture.
        score: What the values are.
        label: What the picture shows, for those who cannot see it.
    """
    row = HEADER + BAND
    height = TOP + row * len(methods) + BOTTOM
    values = [value for method in methods for value in method.values]
    across = Scale(*scores(values, score), 10.0, width - 10)
    bottom = height - BOTTOM
    drawn: list[Element] = []
    for value in ticks(across.low, across.high, 8 if width > 600 else 5):
        x = across(value)
        drawn.append(line(x, TOP, x, bottom + 4, "grid"))
        drawn.append(text(label_of_tick(value, score), x, bottom + 16, "middle"))
    drawn.append(
        text(
            f"test {score.words}{' in %' * score.share}",
            across.end,
            bottom + 30,
            "end",
            "axis-title",
        )
    )
    for place, method in enumerate(methods):
        top = TOP + row * place
        base = top + row - 6
        drawn.append(
            text(short(method.label, round(width / 14)), across.start, top + 15, None, "name")
        )
        drawn.append(text(method.words, across.end, top + 15, "end"))
        drawn.append(line(across.start, base, across.end, base, "axis"))
        if len(method.values) <= FEW:
            drawn += _dots(method, across, base, score)
        else:
            drawn += _histogram(method, across, base, score)
        if method.values:
            middle = across(float(np.median(method.values)))
            drawn.append(line(middle, base - BAND + 8, middle, base + 4, "median"))
    return picture(width, height, label, *drawn, kind="clients")


def _dots(method: Clients, across: Scale, base: float, score: Score) -> list[Element]:
    """A dot for each client, as low as possible without covering another."""
    placed: list[tuple[float, float]] = []
    drawn = []
    for k in sorted(range(len(method.values)), key=lambda k: method.values[k]):
        x = across(method.values[k])
        y = base - RADIUS - 2
        for left, other in sorted(placed, key=lambda dot: -dot[1]):
            if (left - x) ** 2 + (other - y) ** 2 < (2 * RADIUS) ** 2 * 0.98:
                y = other - ((2 * RADIUS) ** 2 - (left - x) ** 2) ** 0.5
        y = max(y, base - BAND + RADIUS)  # a crowd lies over each other rather than over words
        placed.append((x, y))
        words = f"{method.names[k]}: {score.text(method.values[k])}{' %' * score.share}"
        kind = f"dot m{method.style % 8}"
        title = element("title", words)
        drawn.append(element("circle", title, cx=x, cy=y, r=RADIUS, class_=kind))
    return drawn


def _histogram(method: Clients, across: Scale, base: float, score: Score) -> list[Element]:
    """Bars whose areas are shares of the clients."""
    counts, edges = np.histogram(method.values, bins=60, range=(across.low, across.high))
    tallest = (BAND - 10) / max(int(counts.max()), 1)
    return [
        element(
            "rect",
            element(
                "title",
                f"{count} clients at {score.text(left)} to {score.text(right)}{' %' * score.share}",
            ),
            x=across(left),
            y=base - tallest * count,
            width=across(right) - across(left) - 0.6,
            height=tallest * count,
            class_=f"count m{method.style % 8}",
        )
        for count, left, right in zip(counts, edges, edges[1:], strict=False)
        if count
    ]
