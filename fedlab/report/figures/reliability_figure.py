"""A reliability diagram: accuracy by confidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedlab.metrics.base import Counts
from fedlab.metrics.ece import ECE
from fedlab.report.colours import METHODS
from fedlab.report.figures.quiet import INK, quiet


def reliability_figure(panels: Mapping[str, Counts], title: str) -> Figure:
    """A diagram for each panel, side by side.

    A bar is the accuracy of the samples in a bin of confidence, the darker the more there are; the
    mark across it is their mean confidence. Calibrated bars end at their marks.

    Args:
        panels: Counts of `fedlab.metrics.ECE`, by what a panel is called.
        title: Of the picture.
    """
    size = (3.2 * len(panels) + 0.3, 3.5)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, counts) in zip(grid, panels.items(), strict=True):
        _diagram(axes, counts)
        (ece,) = ECE(bins=len(counts["samples"])).compute(counts).values()
        axes.set_title(f"{name}: ECE {ece:.3f}", loc="left", color=INK, fontsize=9)
    grid[0].set_ylabel("classified rightly", color=INK, fontsize=9)
    figure.suptitle(title, color=INK, fontsize=10)
    return figure


def _diagram(axes: Axes, counts: Counts) -> None:
    samples = counts["samples"].numpy().astype(float)
    filled = np.flatnonzero(samples)
    wide = 1 / len(samples)
    accuracy = counts["right"].numpy()[filled] / samples[filled]
    confidence = counts["confidence"].numpy()[filled] / samples[filled]
    shade = 0.25 + 0.75 * samples[filled] / samples.max(initial=1.0)
    for place, height, sure, alpha in zip(filled, accuracy, confidence, shade, strict=True):
        left = place * wide
        axes.bar(left, height, 0.92 * wide, align="edge", color=METHODS[0], alpha=alpha)
        axes.plot([left, left + 0.92 * wide], [sure, sure], color=METHODS[1], linewidth=1.6)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    quiet(axes)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("confidence", color=INK, fontsize=9)
