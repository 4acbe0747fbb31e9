"""A figure of test-time adaptation: each domain before and after, and class priors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedlab.adaptation.adapt_test import Adapted
from fedlab.metrics.metric_set import Score
from fedlab.report.colours import METHODS
from fedlab.report.figures.quiet import FAINT, INK, quiet
from fedlab.report.units import short

if TYPE_CHECKING:
    import pandas

MOST_COLUMNS = 3
FEW_CLASSES = 30
LONGEST_NAME = 14


def adaptation_figure(found: Adapted, score: Score) -> Figure:
    """A metric of every domain before and after; of a label shift, then the priors of each.

    Args:
        found: What adaptation did.
        score: A metric of the scenario.
    """
    table = found.table[found.table["metric"] == score.name]
    high = 0.9 + 0.32 * len(table)
    if found.priors is None:
        figure = Figure(figsize=(6.5, high + 0.4), dpi=150, layout="constrained")
        _changes(figure.subplots(), table, score)
        return figure
    domains = list(dict.fromkeys(found.priors["domain"]))
    wide = min(len(domains), MOST_COLUMNS)
    rows = math.ceil(len(domains) / wide)
    size = (max(6.5, 3.1 * wide), high + 2.3 * rows + 0.4)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[high, 2.3 * rows])
    upper, lower = parts
    _changes(upper.subplots(), table, score)
    grid = list(lower.subplots(rows, wide, sharex=True, sharey=True, squeeze=False).flat)
    for axes, (domain, prior) in zip(
        grid, found.priors.groupby("domain", sort=False), strict=False
    ):
        _priors(axes, prior)
        axes.set_title(short(str(domain), LONGEST_NAME), loc="left", color=INK, fontsize=9)
    for axes in grid[len(domains) :]:
        axes.set_visible(False)
    for axes in grid[::wide]:
        axes.set_ylabel("share of samples", color=INK, fontsize=9)
    lower.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _changes(axes: Axes, table: pandas.DataFrame, score: Score) -> None:
    """An arrow for each domain, from before to after."""
    before, after = (score.scale * table[name].to_numpy() for name in ("before", "after"))
    places = np.arange(len(table))
    axes.hlines(places, before, after, color=METHODS[0], linewidth=1.6)
    axes.scatter(before, places, s=28, facecolor="white", edgecolor=METHODS[0], zorder=3)
    axes.scatter(after, places, s=28, color=METHODS[0], zorder=4)
    axes.set_yticks(places, [short(name, LONGEST_NAME) for name in table["domain"]])
    axes.invert_yaxis()
    axes.set_title("before (open) and after (full)", loc="left", color=INK, fontsize=9)
    axes.set_xlabel(f"test {score.words}{score.unit}", color=INK, fontsize=9)
    quiet(axes, grid="x")


def _priors(axes: Axes, prior: pandas.DataFrame) -> None:
    """Bars of the true prior, and marks of the source's and of the estimate."""
    places = np.arange(len(prior))
    axes.bar(places, prior["true"], width=0.8, color=FAINT, label="true")
    axes.plot(places, prior["source"], "_", markersize=9, color=INK, label="source")
    axes.plot(places, prior["estimated"], "o", markersize=4, color=METHODS[1], label="estimated")
    if len(prior) <= FEW_CLASSES:
        names = [short(str(name), LONGEST_NAME) for name in prior["class"]]
        longest = max(map(len, names))
        axes.set_xticks(places, names, rotation=0 if longest <= 2 else 90)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("class", color=INK, fontsize=9)
    quiet(axes)
