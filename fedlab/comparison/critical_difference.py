"""The critical-difference diagram (Demšar 2006, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fedlab.comparison.significance import Ranks
from fedlab.report.figures.quiet import INK


def critical_difference(labels: Sequence[str], ranks: Ranks, tasks: int) -> Figure:
    """Methods on an axis of average ranks, the best on the right; bars join equal ones.

    Args:
        labels: The methods.
        ranks: Their ranks.
        tasks: Scenarios that were ranked.
    """
    count = len(labels)
    order = np.argsort(ranks.mean, kind="stable")
    sides = (order[: (count + 1) // 2], order[(count + 1) // 2 :][::-1])
    cliques = level_groups([ranks.mean[i] for i in order], ranks.critical)
    rows = max(len(side) for side in sides)
    figure = Figure(figsize=(7.0, 1.3 + 0.24 * (rows + len(cliques))), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(count + 0.9, 0.1)
    axes.set_ylim(-(rows + len(cliques)) * 0.5 - 1.0, 1.6)
    axes.plot([1, count], [0, 0], color=INK, linewidth=1)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, 0.15], color=INK, linewidth=1)
        axes.text(rank, 0.25, str(rank), ha="center", va="bottom", fontsize=8)
    width = min(ranks.critical, count - 1.0)
    axes.plot([1, 1 + width], [1.1, 1.1], color=INK, linewidth=1.5)
    title = f"critical difference {ranks.critical:.2f} (5 %, {tasks} scenarios)"
    axes.text(1 + width / 2, 1.2, title, ha="center", va="bottom", fontsize=8)
    start = -0.4 * len(cliques)
    for place, (first, last) in enumerate(cliques):
        ends = [ranks.mean[order[first]] - 0.04, ranks.mean[order[last]] + 0.04]
        axes.plot(ends, [-0.35 - 0.4 * place] * 2, color=INK, linewidth=3, solid_capstyle="round")
    for side, edge, align in ((sides[0], 0.35, "left"), (sides[1], count + 0.65, "right")):
        for row, method in enumerate(side):
            height = start - 0.6 - 0.5 * row
            rank = ranks.mean[method]
            axes.plot([rank, rank, edge], [0, height, height], color=INK, linewidth=0.7)
            text = f"{labels[method]}  {rank:.2f}"
            axes.text(edge, height, f" {text} ", ha=align, va="center", fontsize=8)
    return figure


def level_groups(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """The longest stretches of ranks, in rising order, that lie within the critical difference.

    Args:
        ranks: Average ranks, rising.
        critical: How far they must lie apart to differ.

    Returns:
        First and last place of each stretch of two or more.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - ranks[first] < critical)
        if last > first and not any(last <= end for _, end in found):
            found.append((first, last))
    return found
