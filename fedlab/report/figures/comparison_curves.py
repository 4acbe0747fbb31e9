"""A picture of how a metric goes with the rounds of many runs, by domain."""

from __future__ import annotations

import math

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedlab.comparison.compared import Compared
from fedlab.comparison.group import Group
from fedlab.errors import InputError
from fedlab.report.figures.learning_curves import ALL, curves_of, frame, score_of
from fedlab.report.figures.partition_figure import INK, colours_of

MOST_COLUMNS = 3


def comparison_figure(comparison: Compared, metric: str | None = None) -> Figure:
    """Many runs: a panel for each domain and their mean; in each, a line for every group.

    The band around a line is the standard deviation over seeds.

    Args:
        comparison: The runs.
        metric: One that they have measured; by default their first.

    Raises:
        InputError: If there is no such metric, or no run that has finished.
    """
    curves = {place: _over_seeds(group, metric) for place, group in enumerate(comparison.groups)}
    shown = {place: found for place, found in curves.items() if found}
    if not shown:
        raise InputError("no run of the comparison has finished; there is nothing to draw")
    score = comparison.score if metric is None else score_of(comparison.runs[0], metric)
    panels = [*comparison.domains, *[ALL] * (len(comparison.domains) > 1)]
    wide = min(len(panels), MOST_COLUMNS)
    high = math.ceil(len(panels) / wide)
    size = (3.0 * wide + 0.4, 2.3 * high + 0.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = list(figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False).flat)
    colours = colours_of(len(comparison.groups))
    for axes, panel in zip(grid, panels, strict=False):
        for place, seeds in shown.items():
            _band(axes, [curve[panel] for curve in seeds if panel in curve], colours[place])
        frame(axes, panel, score)
    for axes in grid[::wide]:
        axes.set_ylabel(f"{comparison.followed} {score.words}", color=INK, fontsize=9)
    for axes in grid[max(len(panels) - wide, 0) : len(panels)]:  # nothing stands below these
        axes.set_xlabel("round", color=INK, fontsize=9)
        axes.tick_params(labelbottom=True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colours[place], label=comparison.groups[place].label)
        for place in shown
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 2 * wide),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _over_seeds(group: Group, metric: str | None) -> list[pandas.DataFrame]:
    """The curves of every finished run, their mean over domains included."""
    runs = [group.runs[seed] for seed in group.outcomes]
    found = [curves_of(run, score_of(run, metric)) for run in runs]
    return [c.assign(**{ALL: c.mean(axis="columns", skipna=False)}) for c in found]


def _band(axes: Axes, curves: list[pandas.Series], colour: str) -> None:
    """Mean and standard deviation over seeds, in the rounds that all of them have."""
    if not curves:
        return
    table = pandas.concat(curves, axis="columns", join="inner")
    mean = table.mean(axis="columns", skipna=False)
    axes.plot(mean.index, mean, color=colour, linewidth=1.4)
    if len(curves) > 1:
        spread = table.std(axis="columns", ddof=1, skipna=False)
        axes.fill_between(
            mean.index, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0
        )
