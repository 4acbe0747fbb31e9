"""What came out: accuracy, the worst client, and how sure a difference is."""

from __future__ import annotations

import math

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import Group
from fedlab.comparison.table import (
    ALL_DOMAINS,
    DIFFERENCE,
    TRAINED,
    WORST,
    some_never_trained,
)
from fedlab.report.html.figure import ConfigBlock, Figure
from fedlab.report.html.format import per_cent, plural, with_deviation
from fedlab.report.html.interval_chart import Interval, interval_chart

SINGLE = "One seed, so no interval"


def results(comparison: Comparison) -> ConfigBlock:
    """The section with the numbers of the last evaluated round."""
    figures = [
        _measured(comparison, ALL_DOMAINS, "Mean over domains"),
        _measured(comparison, WORST, "Worst client"),
    ]
    if some_never_trained(comparison):
        figures.append(_measured(comparison, TRAINED, "Mean over clients that have trained"))
    if len(comparison.groups) > 1:
        figures.append(_differences(comparison))
    return ConfigBlock("results", "Results", _say(comparison), figures)


def headline(comparison: Comparison) -> tuple[list[Group], float, float] | None:
    """The groups with the highest mean over domains, that mean and its deviation over seeds.

    Groups are as good as the best if they are so after rounding, as in the table.
    """
    measured = comparison.table()[ALL_DOMAINS].reset_index(drop=True)
    if measured["mean"].notna().any():
        best = int(measured["mean"].idxmax())
        rounded = (100 * measured["mean"]).round(1)
        equal = [
            g for g, own in zip(comparison.groups, rounded, strict=True) if own == rounded[best]
        ]
        row = measured.iloc[best]
        return equal, float(row["mean"]), float(row["deviation"])
    return None


def _say(comparison: Comparison) -> str:
    seeds = len(comparison.seeds)
    over = (
        f"the mean over {plural(seeds, 'seed')}."
        if seeds > 1
        else "of one seed, which cannot tell how much is chance."
    )
    told = f"Test accuracy in per cent after the last round, {over}"
    if some_never_trained(comparison):
        told += (
            " Some of the clients that were tested had never been drawn to train; they are counted "
            "in the table, and left out of what is said of those that have trained."
        )
    return told


def _measured(comparison: Comparison, measure: str, title: str) -> Figure:
    table = comparison.table()[measure]
    rows = []
    for style, group in enumerate(comparison.groups):
        mean, deviation = (float(table.iloc[style][name]) for name in ("mean", "deviation"))
        rows.append(
            Interval(
                group.label,
                style,
                mean,
                mean - deviation,
                mean + deviation,
                with_deviation(mean, deviation),
            )
        )
    told = ", ".join(f"{row.label} {row.words}" for row in rows)
    chart = interval_chart(
        rows, label=f"{title}, accuracy in per cent: {told}", tick_text=lambda x: f"{100 * x:.10g}"
    )
    several = len(comparison.seeds) > 1
    return Figure(title, chart, "± standard deviation over seeds" if several else SINGLE)


def _differences(comparison: Comparison) -> Figure:
    """Paired differences with their intervals; the reference itself has none."""
    table = comparison.table()[DIFFERENCE]
    rows = []
    for style, group in enumerate(comparison.groups):
        if comparison.reference(group) is group:
            rows.append(Interval(group.label, style, 0.0, math.nan, math.nan, "reference"))
            continue
        mean, low, high = (float(table.iloc[style][name]) for name in ("mean", "low", "high"))
        words = f"{100 * mean:+.1f}" if math.isfinite(mean) else per_cent(mean)
        if math.isfinite(low):
            words += f"  [{100 * low:+.1f}, {100 * high:+.1f}]"
        rows.append(Interval(group.label, style, mean, low, high, words))
    told = ", ".join(f"{row.label} {row.words}" for row in rows)
    chart = interval_chart(
        rows,
        label=f"Difference of the mean over domains to the reference, in points: {told}",
        tick_text=lambda x: f"{100 * x:+.10g}" if x else "0",
        zero=True,
    )
    first = comparison.groups[0].strategy
    several = len(comparison.seeds) > 1
    interval = f"{100 * comparison.confidence:g} % interval, paired by seed" if several else SINGLE
    return Figure(f"Difference to {first}", chart, interval)
