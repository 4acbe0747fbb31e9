"""The section on costs: the first metric over bytes, seconds, and virtual time."""

from __future__ import annotations

from collections.abc import Mapping

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.curves_over_seeds import curve_of, spent, tables_of
from fedlab.comparison.table import on_devices
from fedlab.report.html.curve_chart import Curve, curve_chart, extent
from fedlab.report.html.figure import Figure, PageSection
from fedlab.report.html.format import capital, formatted
from fedlab.report.html.scales import scores

WIDE, NARROW = (500.0, 280.0), (340.0, 220.0)
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
VIRTUAL = (
    " Virtual time is what the rounds would have taken on the scenario's devices: receiving, "
    "training and sending."
)


def cost(comparison: Comparison) -> PageSection:
    """The section with the score over each cost."""
    name, words = capital(comparison.score.words), comparison.score.words
    figures = [
        _against(comparison, "bytes", f"{name} against traffic", "sent up and down", BYTES),
        _against(comparison, "seconds", f"{name} against time", "since the start", SECONDS),
    ]
    if on_devices(comparison):
        title, since = f"{name} against virtual time", "of the devices since the start"
        figures.append(_against(comparison, "virtual_seconds", title, since, SECONDS))
    unit = ", in per cent," * comparison.score.share
    say = (
        f"Mean {words} over domains{unit} over what it has cost: bytes of tensors between "
        "server and clients, those to those that only test included, and wall-clock time of the "
        "simulation on the machine it ran on." + VIRTUAL * on_devices(comparison)
    )
    return PageSection("cost", "Cost", say, figures)


def _against(
    comparison: Comparison, what: str, title: str, since: str, units: Mapping[str, float]
) -> Figure:
    score = comparison.score
    prices = [spent(group, what) for group in comparison.groups]
    unit = _unit(max((float(price.max()) for price in prices if len(price)), default=1.0), units)
    curves = []
    for style, (group, price) in enumerate(zip(comparison.groups, prices, strict=True)):
        over = curve_of(tables_of(group))
        both = over.mean.index.intersection(price.index)
        x = list(price.loc[both] / units[unit])
        deviation = list(over.deviation.loc[both].fillna(0.0))
        curves.append(Curve(group.label, style, x, list(over.mean.loc[both]), deviation))
    ends = ", ".join(
        f"{curve.label} {formatted(curve.y[-1], score)}{' per cent' * score.share} after "
        f"{curve.x[-1]:,.3g} {unit}"
        for curve in curves
        if curve.y
    )
    wide, narrow = (
        curve_chart(
            curves,
            label=f"{title}: {ends}",
            x_title=f"{unit} {since}",
            x_text=lambda x: f"{x:,.3g}" if x < 1000 else f"{x:,.0f}",
            score=score,
            y_range=scores(extent(curves), score),
            size=size,
            named=False,
        )
        for size in (WIDE, NARROW)
    )
    return Figure(title, wide, narrow=narrow)


def _unit(largest: float, units: Mapping[str, float]) -> str:
    """The largest unit in which the value is at least two."""
    fitting = [unit for unit, size in units.items() if largest >= 2 * size]
    return fitting[-1] if fitting else next(iter(units))
