"""The section on learning curves of the first metric: all domains, each one, the worst client."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.curves_over_seeds import curve_of, tables_of, worst
from fedlab.comparison.group import Group
from fedlab.metrics.metric_set import Score
from fedlab.report.html.curve_chart import Curve, curve_chart, extent
from fedlab.report.html.figure import Figure, Numbers, PageSection
from fedlab.report.html.format import capital, formatted, with_deviation
from fedlab.report.html.scales import scores
from fedlab.runs.curves import Over

LARGE, SMALL = (1040.0, 360.0), (340.0, 220.0)
ROWS = 12
"""Rounds that a table of a curve shows."""
MOST = 29
"""Domains that are shown."""
NAMED = 8
"""Domains without a picture that are named."""


def learning(comparison: Comparison) -> PageSection:
    """The section with learning curves."""
    groups, score = comparison.groups, comparison.score
    tables = [tables_of(group) for group in groups]
    whole = [curve_of(each) for each in tables]
    parts = {name: [curve_of(t, name) for t in tables] for name in comparison.domains[:MOST]}
    if len(parts) == 1:
        parts = {}
    parts["worst client"] = [worst(group) for group in groups]
    title = comparison.domains[0] if len(comparison.domains) == 1 else "Mean over domains"
    curves = _curves(groups, whole)
    alike = scores(extent([c for name in parts for c in _curves(groups, parts[name])]), score)
    y_range = scores(extent(curves), score)
    figures = [
        Figure(
            title,
            _chart(title, curves, score, y_range, LARGE),
            numbers=_numbers(groups, whole, score),
            narrow=_chart(title, curves, score, y_range, SMALL),
        ),
        *(
            Figure(
                name,
                _chart(name, _curves(groups, overs), score, alike, SMALL),
                numbers=_numbers(groups, overs, score),
            )
            for name, overs in parts.items()
        ),
    ]
    say = f"{capital(comparison.followed)} {score.words}{score.unit} by round"
    say += ", mean and standard deviation over seeds." if len(comparison.seeds) > 1 else "."
    if len(comparison.domains) > MOST:
        left_out = comparison.domains[MOST:]
        more = f" and {len(left_out) - NAMED} more" * (len(left_out) > NAMED)
        say += (
            f" {MOST} of {len(comparison.domains)} domains have a picture; in the table alone: "
            f"{', '.join(left_out[:NAMED])}{more}."
        )
    return PageSection("learning", "Learning curves", say, figures)


def _curves(groups: Sequence[Group], overs: Sequence[Over]) -> list[Curve]:
    return [
        Curve(
            group.label,
            style,
            list(over.mean.index),
            list(over.mean),
            list(over.deviation.fillna(0.0)),
        )
        for style, (group, over) in enumerate(zip(groups, overs, strict=True))
    ]


def _chart(
    name: str,
    curves: Sequence[Curve],
    score: Score,
    y_range: tuple[float, float],
    size: tuple[float, float],
) -> Markup:
    ends = ", ".join(
        f"{curve.label} {formatted(curve.y[-1], score)}" for curve in curves if curve.y
    )
    unit = ", in per cent" * score.share
    return curve_chart(
        curves,
        label=f"{capital(score.words)} over rounds, {name}; at the end{unit}: {ends}",
        x_title="round",
        x_step=1.0,
        x_text=lambda x: f"{x:g}",
        score=score,
        y_range=y_range,
        size=size,
        named=size is LARGE,
    )


def _numbers(groups: Sequence[Group], overs: Sequence[Over], score: Score) -> Numbers:
    """The numbers of some rounds, the last one among them."""
    rounds = sorted({int(number) for over in overs for number in over.mean.index})
    shown = rounds[::-1][:: -(-len(rounds) // ROWS) or 1][::-1]

    def cell(over: Over, number: int) -> str:
        mean, deviation = (float(part.get(number, math.nan)) for part in over)
        return with_deviation(mean, deviation, score)

    rows = [[str(number), *(cell(over, number) for over in overs)] for number in shown]
    return Numbers(["round", *(group.label for group in groups)], rows)
