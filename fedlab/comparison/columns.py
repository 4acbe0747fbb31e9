"""The columns of a comparison's table in words, shares in per cent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas

from fedlab.comparison.sentences import NONE, Column, as_good, numbers, rows, words
from fedlab.comparison.significance import LEVEL, least_p
from fedlab.comparison.table import (
    ALL_DOMAINS,
    BYTES,
    BYTES_TO,
    CLIENTS,
    DIFFERENCE,
    NEVER,
    ROUNDS_TO,
    SECONDS,
    SPREAD,
    TRAINED,
    VIRTUAL,
    VIRTUAL_TO,
    WORST,
    WORST_TRAINED,
    P,
    held_out,
    table,
)
from fedlab.comparison.unseen import UNSEEN, unseen_by
from fedlab.comparison.work import work_columns
from fedlab.config.yaml_text import in_words
from fedlab.report.units import duration, size

if TYPE_CHECKING:
    from fedlab.comparison.compared import Compared
    from fedlab.metrics.metric_set import Score

MANY = 8
"""Domains beyond which a reader would have to look for the mean behind them."""
SIGN = "†"
"""Marks an accuracy on a domain that no client of that group has."""


def columns(comparison: Compared) -> list[Column]:
    """The whole table; where there are many domains, they come after all else."""
    many = len(comparison.domains) > MANY
    return [
        *names(comparison),
        *(over_all_of_many(comparison) if many else accuracies(comparison)),
        *clients(comparison),
        *asked_for(comparison),
        *spreads_and_costs(comparison),
        *work_columns(comparison),
        *(domains(comparison) if many else ()),
    ]


def names(comparison: Compared) -> list[Column]:
    """The label of each group, and the number of its runs."""
    groups = comparison.groups
    short = {key: key.rpartition(".")[2] for key in comparison.variant_keys}
    titles = {k: s if list(short.values()).count(s) == 1 else k for k, s in short.items()}
    return [
        words("method", [group.strategy for group in groups]),
        *(
            words(title, [in_words(group.variant.get(key)) for group in groups])
            for key, title in titles.items()
        ),
        words("runs", [f"{len(g.outcomes)} of {len(g.seeds)}" for g in groups]),
    ]


def accuracies(comparison: Compared) -> list[Column]:
    """The score by domain and over all; the best of complete groups is marked, and its equals."""
    return [*domains(comparison), *over_all(comparison)]


def domains(comparison: Compared) -> list[Column]:
    """The score by domain; one that no client has is marked."""
    frame = table(comparison)
    found = []
    for domain in comparison.domains:
        by = unseen_by(comparison, domain)
        column = rated(frame, domain, comparison.score)
        if all(by):
            column = replace(column, title=f"{domain} {UNSEEN}")
        elif any(by):
            marked = (
                f"{cell} {SIGN}" if one and cell != NONE else cell
                for cell, one in zip(column.cells, by, strict=True)
            )
            column = replace(column, cells=list(marked))
        found.append(column)
    return found


def over_all(comparison: Compared) -> list[Column]:
    """The score over all domains, where there are several, and of the worst client."""
    frame = table(comparison)
    several = [ALL_DOMAINS] * (len(comparison.domains) > 1)
    return [rated(frame, measure, comparison.score) for measure in (*several, WORST)]


def over_all_of_many(comparison: Compared) -> list[Column]:
    """The columns instead of many domains: their mean, spread and worst."""
    *mean, worst = over_all(comparison)
    return [*mean, spread_over_domains(comparison), worst_domain(comparison), worst]


def worst_domain(comparison: Compared) -> Column:
    """The worst score on a domain, and the domain."""
    frame, score = table(comparison), comparison.score
    cells = []
    for row in rows(frame):
        means = {domain: row[domain, "mean"] for domain in comparison.domains}
        known = {domain: mean for domain, mean in means.items() if not math.isnan(mean)}
        worst = min(known, key=lambda domain: score.sign * known[domain], default=None)
        cells.append(NONE if worst is None else f"{score.text(known[worst])} ({worst})")
    return words("worst domain", cells, number=True)


def spread_over_domains(comparison: Compared) -> Column:
    """Standard deviation of the score over domains."""
    means = table(comparison)[[(domain, "mean") for domain in comparison.domains]]
    deviations = means.std(axis="columns", ddof=0, skipna=False)
    cells = [NONE if math.isnan(value) else comparison.score.text(value) for value in deviations]
    return words("spread over domains", cells, number=True)


def clients(comparison: Compared) -> list[Column]:
    """Means over clients: of those tested where some have never trained, and of those held out."""
    frame = table(comparison)
    of_held_out = [rated(frame, measure, comparison.score) for measure in held_out(comparison)]
    if (NEVER, "mean") not in frame:
        return of_held_out
    counts = [NONE if math.isnan(count) else f"{count:.3g}" for count in frame[NEVER, "mean"]]
    return [
        *(rated(frame, measure, comparison.score) for measure in (CLIENTS, TRAINED, WORST_TRAINED)),
        words(NEVER, counts, number=True),
        *of_held_out,
    ]


def asked_for(comparison: Compared) -> list[Column]:
    """The further columns."""
    frame = table(comparison)
    return [rated(frame, one.title, one.score) for one in comparison.asked]


def spreads_and_costs(comparison: Compared) -> list[Column]:
    """Spread over clients, difference to the reference, and the costs of runs."""
    frame, score = table(comparison), comparison.score
    found = [words(SPREAD, numbers(frame, SPREAD, score, deviations=False), number=True)]
    if len(comparison.groups) > 1:
        cells = [_difference(row, score) for row in rows(frame)]
        found.append(words(DIFFERENCE, cells, number=True))
        if enough_seeds(comparison):
            found.append(words(P, [_p(row[DIFFERENCE, P]) for row in rows(frame)], number=True))
    if comparison.target is not None:
        goal = f"to {score.scale * comparison.target:g}{' %' * score.share}"
        for title, measure, unit in (
            ("rounds", ROUNDS_TO, "{:.0f}".format),
            ("traffic", BYTES_TO, size),
            ("virtual time", VIRTUAL_TO, duration),
        ):
            if (measure, "mean") in frame:
                cells = [_until(row, measure, unit) for row in rows(frame)]
                found.append(words(f"{title} {goal}", cells, number=True))
    for title, measure, unit in (
        ("traffic", BYTES, size),
        ("time", SECONDS, duration),
        ("virtual time", VIRTUAL, duration),
    ):
        if (measure, "mean") in frame:
            cells = [NONE if math.isnan(v) else unit(v) for v in frame[measure, "mean"]]
            found.append(words(title, cells, number=True))
    return found


def enough_seeds(comparison: Compared) -> bool:
    """Whether any p, corrected for the number of differences, can be below 5 %."""
    return least_p(*paired(comparison)) < LEVEL


def paired(comparison: Compared) -> tuple[int, int]:
    """The largest number of pairs of a difference, and the number of differences with a p-value."""
    found = table(comparison)[DIFFERENCE]
    pairs = found["pairs"][found["p"].notna()]
    return int(pairs.max()) if len(pairs) else 0, len(pairs)


def _p(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2g}"


def rated(frame: pandas.DataFrame, measure: str, score: Score) -> Column:
    """A column of scores; all that equal the best after rounding are marked."""
    means = frame[measure, "mean"]
    complete = frame["runs", "finished"] == frame["runs", "planned"]
    best = complete & as_good(means.where(complete), score)
    several = means[complete].count() > 1
    return Column(measure, numbers(frame, measure, score), [bool(b and several) for b in best])


def _difference(row: Any, score: Score) -> str:
    mean, low, high = (row[DIFFERENCE, name] for name in ("mean", "low", "high"))
    if math.isnan(mean):
        return NONE
    ends = "" if math.isnan(low) else f" [{score.text(low, '+')}, {score.text(high, '+')}]"
    return score.text(mean, "+") + ends


def _until(row: Any, measure: str, unit: Any) -> str:
    """A mean if all finished runs reached the target, else the number of those that did."""
    finished, reached = int(row["runs", "finished"]), int(row[measure, "reached"])
    if not finished:
        return NONE
    return unit(row[measure, "mean"]) if reached == finished else f"{reached} of {finished}"
