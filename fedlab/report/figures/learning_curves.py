"""Pictures of how accuracy, or loss, goes with the rounds, by domain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedlab.comparison.statistics import learning_curves
from fedlab.errors import InputError
from fedlab.report.figures.partition_figure import FAINT, INK, colours_of

if TYPE_CHECKING:
    from fedlab.comparison.comparison import Comparison
    from fedlab.comparison.group import Group
    from fedlab.runs.run import Run

METRICS = ("accuracy", "loss")
MOST_COLUMNS = 3
ALL = "mean over domains"


def run_figure(run: Run, metric: str = "accuracy") -> Figure:
    """One run: a line for each domain, and a dark one for their mean.

    Raises:
        InputError: If there is no such metric, or no round was evaluated yet.
    """
    curves = _curves(run, metric)
    figure = Figure(figsize=(6.5, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    colours = colours_of(len(curves.columns))
    for domain, colour in zip(curves.columns, colours, strict=True):
        axes.plot(curves.index, curves[domain], color=colour, linewidth=1.4, label=domain)
    if len(curves.columns) > 1:
        mean = curves.mean(axis="columns", skipna=False)
        axes.plot(curves.index, mean, color=INK, linewidth=2, label=ALL)
    scenario = run.scenario
    _frame(axes, f"{scenario.name}, {scenario.strategy.name}, seed {scenario.seed}", metric)
    axes.set_xlabel("round", color=INK, fontsize=9)
    axes.set_ylabel(f"test {metric}", color=INK, fontsize=9)
    figure.legend(loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    return figure


def comparison_figure(comparison: Comparison, metric: str = "accuracy") -> Figure:
    """Many runs: a panel for each domain and their mean; in each, a line for every group.

    The band around a line is the standard deviation over seeds.

    Raises:
        InputError: If there is no such metric, or no run that has finished.
    """
    curves = {place: _over_seeds(group, metric) for place, group in enumerate(comparison.groups)}
    shown = {place: found for place, found in curves.items() if found}
    if not shown:
        raise InputError("no run of the comparison has finished; there is nothing to draw")
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
        _frame(axes, panel, metric)
    for axes in grid[::wide]:
        axes.set_ylabel(f"test {metric}", color=INK, fontsize=9)
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


def _curves(run: Run, metric: str) -> pandas.DataFrame:
    if metric not in METRICS:
        raise InputError(f"there is no curve of '{metric}'; choose from {', '.join(METRICS)}")
    curves = learning_curves(run.history, metric)
    if curves.empty:
        raise InputError(f"the run '{run.folder}' has no evaluated round yet; resume it")
    return curves


def _over_seeds(group: Group, metric: str) -> list[pandas.DataFrame]:
    """The curves of every finished run, their mean over domains included."""
    found = [_curves(group.runs[seed], metric) for seed in group.outcomes]
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


def _frame(axes: Axes, title: str, metric: str) -> None:
    """A quiet title, a grid, and per cent where they are meant."""
    axes.set_title(title, loc="left", color=INK, fontsize=9)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
