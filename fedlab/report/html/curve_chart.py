"""Curves with bands: a score over rounds, bytes or seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from fedlab.metrics.metric_set import ACCURACY_SCORE, Score
from fedlab.report.html.scales import Scale, apart, label_of_tick, ticks
from fedlab.report.html.svg import Element, element, line, mark, picture, polyline, text
from fedlab.report.units import short

LEFT, TOP, BOTTOM = 34.0, 12.0, 30.0
LABEL_HEIGHT = 14.0
MOST_POINTS = 300
LETTER = 6.4  # width of a letter of a label, roughly


@dataclass(frozen=True)
class Curve:
    """One method's curve.

    Attributes:
        label: The method.
        style: Its colour and sign.
        x: Places along the x axis.
        y: Values; NaN leaves a gap out.
        deviation: Half the height of the band around each value, NaN or 0 where there is none.
    """

    label: str
    style: int
    x: Sequence[float]
    y: Sequence[float]
    deviation: Sequence[float]


def curve_chart(
    curves: Sequence[Curve],
    *,
    label: str,
    x_title: str,
    x_text: Callable[[float], str],
    y_range: tuple[float, float],
    size: tuple[float, float],
    named: bool,
    score: Score = ACCURACY_SCORE,
    x_step: float = 0.0,
) -> Markup:
    """Draws curves of a score.

    Args:
        curves: The curves.
        label: What the picture shows, for those who cannot see it.
        x_title: What is along the x axis.
        x_text: How a number of the x axis is written.
        y_range: Range of the y axis.
        size: Width and height.
        named: Whether each curve's name stands at its end, for which there must be room.
        score: What is along the y axis.
        x_step: Least distance between two numbers along the x axis.
    """
    width, height = size
    curves = [_thinned(curve) for curve in curves]
    longest = max((len(curve.label) for curve in curves), default=0)
    letters = min(longest, int((0.34 * width - 34) / LETTER))
    right = 34 + LETTER * letters if named else 12.0
    farthest = max((x for curve in curves for x in curve.x), default=1.0)
    across = Scale(0.0, max(farthest, 1e-9), LEFT, width - right)
    up = Scale(*y_range, height - BOTTOM, TOP)
    drawn = [*_axes(across, up, x_title, x_text, score, x_step)]
    for curve in curves:
        drawn += _curve(curve, across, up)
    if named:
        drawn += _names(curves, across, up, letters)
    drawn.append(element("g", class_="reading", hidden=""))
    readings = {
        "left": LEFT,
        "right": width - right,
        "top": TOP,
        "bottom": height - BOTTOM,
        "curves": [_reading(curve, across, up, x_text, score) for curve in curves],
    }
    shown = picture(width, height, label, *drawn, kind="curves")
    opening = Markup('<svg data-x="{}" data-curves="{}" ').format(x_title, json.dumps(readings))
    return shown.replace("<svg ", opening, 1)


def extent(curves: Sequence[Curve]) -> list[float]:
    """The range of an axis: values, and the ends of bands."""
    return [
        y + side * deviation
        for curve in curves
        for y, deviation in zip(curve.y, curve.deviation, strict=True)
        for side in (-1, 1)
    ]


def _axes(
    across: Scale,
    up: Scale,
    x_title: str,
    x_text: Callable[[float], str],
    score: Score,
    x_step: float,
) -> list[Element]:
    drawn = []
    for value in ticks(up.low, up.high, 5):
        y = up(value)
        drawn.append(line(across.start, y, across.end, y, "grid"))
        drawn.append(text(label_of_tick(value, score), across.start - 7, y + 3.8, "end"))
    drawn.append(line(across.start, up.start, across.end, up.start, "axis"))
    marks = ticks(across.low, across.high, 4 if across.end - across.start < 300 else 7, x_step)
    for value in marks:
        x = across(value)
        drawn.append(line(x, up.start, x, up.start + 4, "axis"))
        drawn.append(text(x_text(value), x, up.start + 15, "middle"))
    drawn.append(text(x_title, across.end, up.start + 27, "end", "axis-title"))
    return drawn


def _thinned(curve: Curve) -> Curve:
    """The points, thinned to as many as can be distinguished, with the last one."""
    step = -(-len(curve.x) // MOST_POINTS) or 1
    kept = slice((len(curve.x) - 1) % step, None, step)
    return replace(curve, x=curve.x[kept], y=curve.y[kept], deviation=curve.deviation[kept])


def _curve(curve: Curve, across: Scale, up: Scale) -> list[Element]:
    known = [
        (across(x), y, 0.0 if math.isnan(deviation) else deviation)
        for x, y, deviation in zip(curve.x, curve.y, curve.deviation, strict=True)
        if math.isfinite(y)
    ]
    if not known:
        return []
    kind = f"m{curve.style % 8}"
    drawn = []
    if any(deviation for _, _, deviation in known) and len(known) > 1:
        upper = [(x, up(min(y + deviation, up.high))) for x, y, deviation in known]
        lower = [(x, up(max(y - deviation, up.low))) for x, y, deviation in known]
        drawn.append(element("path", d=polyline(upper + lower[::-1]) + "z", class_=f"band {kind}"))
    path = polyline([(x, up(y)) for x, y, _ in known])
    drawn.append(element("path", d=path, class_=f"curve {kind}" + " again" * (curve.style > 7)))
    x, y, _ = known[-1]
    drawn.append(mark(curve.style, x, up(y)))
    return drawn


def _names(curves: Sequence[Curve], across: Scale, up: Scale, letters: int) -> list[Element]:
    """Each curve's name at its last value."""
    ends = []
    for curve in curves:
        known = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
        if known:
            ends.append((curve, across(known[-1][0]), up(known[-1][1])))
    heights = apart([y for _, _, y in ends], LABEL_HEIGHT, up.end, up.start)
    drawn = []
    for (curve, x, y), height in zip(ends, heights, strict=True):
        leader = polyline([(x, y), (across.end + 5, y), (across.end + 14, height)])
        drawn.append(element("path", d=leader, class_=f"leader m{curve.style % 8}"))
        drawn.append(mark(curve.style, across.end + 17, height))
        drawn.append(text(short(curve.label, letters), across.end + 26, height + 4, None, "name"))
    return drawn


def _reading(
    curve: Curve, across: Scale, up: Scale, x_text: Callable[[float], str], score: Score
) -> dict[str, object]:
    """The tooltip of a curve."""
    points = [
        [round(across(x), 1), round(up(y), 1), x_text(x), score.text(y)]
        for x, y in zip(curve.x, curve.y, strict=True)
        if math.isfinite(y)
    ]
    return {"label": curve.label, "style": curve.style % 8, "points": points}
