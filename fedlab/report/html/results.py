"""The section on results: the first metric, the worst client, and differences with intervals."""

from __future__ import annotations

import math

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import Group
from fedlab.comparison.sentences import as_good
from fedlab.comparison.table import (
    ALL_DOMAINS,
    DIFFERENCE,
    TRAINED,
    WORST,
    held_out,
    some_never_trained,
)
from fedlab.report.html.figure import Figure, PageSection
from fedlab.report.html.format import formatted, plural, with_deviation
from fedlab.report.html.interval_chart import IntervalRow, interval_chart

SINGLE = "One seed, so no interval"


def results(comparison: Comparison) -> PageSection:
    """The section with the numbers of the last evaluated round."""
    figures = [
        _measured(comparison, ALL_DOMAINS, "Mean over domains"),
        _measured(comparison, WORST, "Worst client"),
    ]
    if some_never_trained(comparison):
        figures.append(_measured(comparison, TRAINED, "Mean over clients that have trained"))
    for measure in held_out(comparison):
        figures.append(_measured(comparison, measure, measure[0].upper() + measure[1:]))
    if len(comparison.groups) > 1:
        figures.append(_differences(comparison))
    return PageSection("results", "Results", _say(comparison), figures)


def headline(comparison: Comparison) -> tuple[list[Group], float, float] | None:
    """The groups with the best mean over domains, that mean and its deviation over seeds.

    Groups are as good as the best if they are so after rounding, as in the table.
    """
    measured = comparison.table()[ALL_DOMAINS].reset_index(drop=True)
    score = comparison.score
    if measured["mean"].notna().any():
        best = int((score.sign * measured["mean"]).idxmax())
        good = as_good(measured["mean"], score)
        equal = [group for group, so in zip(comparison.groups, good, strict=True) if so]
        row = measured.iloc[best]
        return equal, float(row["mean"]), float(row["deviation"])
    return None


def _say(comparison: Comparison) -> str:
    seeds = len(comparison.seeds)
    over = (
        f"the mean over {plural(seeds, 'seed')}."
        if seeds > 1
        else "of one seed, which cannot show how much is chance."
    )
    score = comparison.score
    which = "the round that is best on validation" if comparison.chosen else "the last round"
    words = f"Test {score.words}{score.unit} after {which}, {over}"
    if some_never_trained(comparison):
        words += (
            " Some of the clients that were tested had never been drawn to train; they are counted "
            "in the table, and left out of what is said of those that have trained."
        )
    return words


def _measured(comparison: Comparison, measure: str, title: str) -> Figure:
    table, score = comparison.table()[measure], comparison.score
    rows = []
    for style, group in enumerate(comparison.groups):
        mean, deviation = (float(table.iloc[style][name]) for name in ("mean", "deviation"))
        rows.append(
            IntervalRow(
                group.label,
                style,
                mean,
                mean - deviation,
                mean + deviation,
                with_deviation(mean, deviation, score),
            )
        )
    ends = ", ".join(f"{row.label} {row.words}" for row in rows)
    chart = interval_chart(
        rows,
        label=f"{title}, {score.words}{score.unit}: {ends}",
        tick_text=lambda x: f"{score.scale * x:.10g}",
    )
    several = len(comparison.seeds) > 1
    return Figure(title, chart, "± standard deviation over seeds" if several else SINGLE)


def _differences(comparison: Comparison) -> Figure:
    """Paired differences with their intervals; the reference itself has none."""
    table, score = comparison.table()[DIFFERENCE], comparison.score
    rows = []
    for style, group in enumerate(comparison.groups):
        if comparison.reference(group) is group:
            rows.append(IntervalRow(group.label, style, 0.0, math.nan, math.nan, "reference"))
            continue
        mean, low, high = (float(table.iloc[style][name]) for name in ("mean", "low", "high"))
        words = score.text(mean, "+") if math.isfinite(mean) else formatted(mean, score)
        if math.isfinite(low):
            words += f"  [{score.text(low, '+')}, {score.text(high, '+')}]"
        rows.append(IntervalRow(group.label, style, mean, low, high, words))
    ends = ", ".join(f"{row.label} {row.words}" for row in rows)
    points = ", in points" * score.share
    chart = interval_chart(
        rows,
        label=f"Difference of the mean over domains to the reference{points}: {ends}",
        tick_text=lambda x: f"{score.scale * x:+.10g}" if x else "0",
        zero=True,
    )
    first = comparison.groups[0].strategy
    several = len(comparison.seeds) > 1
    interval = f"{100 * comparison.confidence:g} % interval, paired by seed" if several else SINGLE
    return Figure(f"Difference to {first}", chart, interval)
