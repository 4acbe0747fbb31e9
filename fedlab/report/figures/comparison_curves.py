"""A figure of a metric over the rounds of many runs, by domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.report.colours import METHODS, method_colours
from fedlab.report.figures.learning_curves import frame
from fedlab.report.figures.quiet import INK
from fedlab.runs.curves import Over

MOST_COLUMNS = 3


def comparison_figure(
    panels: Mapping[str, Sequence[Over]], labels: Sequence[str], score: Score, followed: str
) -> Figure:
    """Many runs: a panel for each domain and their mean; in each, a line for every group.

    The band around a line is the standard deviation over seeds.

    Args:
        panels: The curves of all groups, by what a panel shows; empty ones are left out.
        labels: What the groups are called, in the same order.
        score: What is drawn.
        followed: What it was measured on: ``test`` or ``validation``.

    Raises:
        InputError: If there is no curve.
    """
    shown = [
        place
        for place in range(len(labels))
        if any(len(curves[place].mean) for curves in panels.values())
    ]
    if not shown:
        raise InputError("no run of the comparison has finished; there is nothing to draw")
    wide = min(len(panels), MOST_COLUMNS)
    high = math.ceil(len(panels) / wide)
    size = (3.0 * wide + 0.4, 2.3 * high + 0.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = list(figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False).flat)
    looks: list[dict[str, Any]] = [
        {"color": colour, "linestyle": "--" if place >= len(METHODS) else "-"}
        for place, colour in enumerate(method_colours(len(labels)))
    ]
    for axes, (panel, curves) in zip(grid, panels.items(), strict=False):
        for place in shown:
            _band(axes, curves[place], looks[place])
        frame(axes, panel, score)
    for axes in grid[::wide]:
        axes.set_ylabel(f"{followed} {score.words}", color=INK, fontsize=9)
    for axes in grid[max(len(panels) - wide, 0) : len(panels)]:  # nothing stands below these
        axes.set_xlabel("round", color=INK, fontsize=9)
        axes.tick_params(labelbottom=True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles = [Line2D([], [], label=labels[place], **looks[place]) for place in shown]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 2 * wide),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _band(axes: Axes, curve: Over, look: Mapping[str, Any]) -> None:
    """A line, and its band where there is one."""
    mean, spread = curve
    if mean.empty:
        return
    axes.plot(mean.index, mean, linewidth=1.4, **look)
    if spread.notna().any():
        axes.fill_between(
            mean.index,
            mean - spread,
            mean + spread,
            color=look["color"],
            alpha=0.2,
            linewidth=0,
        )
