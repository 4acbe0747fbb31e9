"""The section on counts of metrics: confusion matrices and reliability diagrams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import Group
from fedlab.metrics.base import Metric
from fedlab.metrics.confusion import Confusion
from fedlab.metrics.ece import ECE
from fedlab.report.html.confusion_chart import confusion_chart
from fedlab.report.html.figure import Figure, PageSection
from fedlab.report.html.format import plural
from fedlab.report.html.reliability_chart import reliability_chart
from fedlab.runs.kept_counts import kept_counts


def counted(comparison: Comparison) -> PageSection:
    """The section with a figure for each method and metric with counts; it may be empty."""
    figures = []
    for metric in comparison.metric_set.counted:
        draw = _drawing(metric)
        for group in comparison.groups if draw else ():
            counts = _of_group(group, metric.title)
            if counts and draw:
                figures.append(draw(group.label, counts))
    seeds = f", the counts of {plural(len(comparison.seeds), 'seed')} added up"
    say = (
        "What clients' models make of all their test samples together after the last round"
        + seeds * (len(comparison.seeds) > 1)
        + "."
    )
    return PageSection("counts", "Classes and calibration", say, figures)


def _drawing(metric: Metric) -> Callable[[str, dict[str, np.ndarray]], Figure] | None:
    if isinstance(metric, Confusion):
        return _confusion
    return _reliability if isinstance(metric, ECE) else None


def _of_group(group: Group, metric: str) -> dict[str, np.ndarray]:
    """The counts of all finished runs together; empty where there are none."""
    total: dict[str, np.ndarray] = {}
    for seed, outcome in group.outcomes.items():
        for name, values in kept_counts(group.runs[seed], metric, outcome.round).items():
            total[name] = total[name] + values if name in total else values
    return total


def _confusion(label: str, counts: dict[str, np.ndarray]) -> Figure:
    matrix = counts["matrix"].astype(int)
    right = matrix.trace() / max(matrix.sum(), 1)
    caption = f"{matrix.sum():,} test samples, {right:.1%} of them on the diagonal"
    chart = confusion_chart(matrix, label=f"Confusion matrix of {label}: {caption}")
    words = "Labels by row, predictions by column; the depth is the share of the row"
    return Figure(f"{label}: confusion", chart, words)


def _reliability(label: str, counts: dict[str, np.ndarray]) -> Figure:
    samples, right, confidence = (counts[name] for name in ("samples", "right", "confidence"))
    gap = float(np.abs(right - confidence).sum() / max(samples.sum(), 1))
    words = f"Share that is right by confidence, {len(samples)} bins; ECE {gap:.1%}"
    chart: Markup = reliability_chart(
        samples, right, confidence, label=f"Reliability of {label}. {words}"
    )
    return Figure(f"{label}: reliability", chart, words)
