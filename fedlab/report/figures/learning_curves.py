"""A figure of a metric over the rounds of a run, by domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fedlab.errors import InputError
from fedlab.metrics.metric_set import Score
from fedlab.report.colours import domain_colours
from fedlab.report.figures.quiet import INK, quiet
from fedlab.runs.curves import MEAN_OVER_DOMAINS, learning_curves
from fedlab.runs.metrics import followed_split

if TYPE_CHECKING:
    from fedlab.runs.run_record import RunRecord


def run_figure(run: RunRecord, metric: str | None = None) -> Figure:
    """One run: a line for each domain, and a dark one for their mean.

    Args:
        run: The run.
        metric: One that the run has measured; by default its first.

    Raises:
        InputError: If there is no such metric, or no round was evaluated yet.
    """
    score = score_of(run, metric)
    curves = curves_of(run, score)
    figure = Figure(figsize=(6.5, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    colours = domain_colours(len(curves.columns))
    for domain, colour in zip(curves.columns, colours, strict=True):
        axes.plot(curves.index, curves[domain], color=colour, linewidth=1.4, label=domain)
    if len(curves.columns) > 1:
        mean = curves.mean(axis="columns", skipna=False)
        axes.plot(curves.index, mean, color=INK, linewidth=2, label=MEAN_OVER_DOMAINS)
    scenario = run.scenario
    frame(axes, f"{scenario.name}, {scenario.strategy.name}, seed {scenario.seed}", score)
    axes.set_xlabel("round", color=INK, fontsize=9)
    axes.set_ylabel(f"{followed_split(run.history)} {score.words}", color=INK, fontsize=9)
    figure.legend(loc="outside right center", frameon=False, fontsize=9, labelcolor=INK)
    return figure


def score_of(run: RunRecord, metric: str | None) -> Score:
    """The metric of a run by its name; by default the first.

    Raises:
        InputError: If there is no such metric.
    """
    return run.metric_set.first if metric is None else run.metric_set.score(metric)


def curves_of(run: RunRecord, score: Score) -> pandas.DataFrame:
    """A run's learning curves: rounds x domains.

    Raises:
        InputError: If no round was evaluated yet, or none with that metric.
    """
    curves = learning_curves(run.history, score.name, followed_split(run.history))
    if curves.empty:
        raise InputError(run.untested)
    return curves


def frame(axes: Axes, title: str, score: Score) -> None:
    """Sets the title, a grid, and per cent for shares."""
    axes.set_title(title, loc="left", color=INK, fontsize=9)
    quiet(axes, size=9)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if score.share:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
