"""The numbers of a comparison: of every run, and of every group over its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas

from fedlab.comparison.group import Group, in_words
from fedlab.comparison.statistics import (
    Outcome,
    bytes_reaching,
    estimate,
    paired_difference,
    round_reaching,
    virtual_seconds_reaching,
)

if TYPE_CHECKING:
    from fedlab.comparison.comparison import Comparison

ALL_DOMAINS, WORST, SPREAD = "all domains", "worst client", "spread over clients"
DIFFERENCE, BYTES, SECONDS = "difference", "bytes", "seconds"
ROUNDS_TO, BYTES_TO = "rounds to target", "bytes to target"
VIRTUAL, VIRTUAL_TO = "virtual seconds", "virtual seconds to target"


def results(comparison: Comparison) -> pandas.DataFrame:
    """See `Comparison.results`."""
    rows = []
    for group in comparison.groups:
        for seed in group.seeds:
            row: dict[str, Any] = {"strategy": group.strategy, **group.variant, "seed": seed}
            run = group.outcomes.get(seed)
            row["state"] = "finished" if run else group.why_missing(seed)
            row["round"] = run.round if run else math.nan
            for measure, value in _measures(comparison).items():
                row[measure] = value(run) if run else math.nan
            rows.append(row)
    return pandas.DataFrame(rows).astype({"round": "Int64"})


def table(comparison: Comparison) -> pandas.DataFrame:
    """See `Comparison.table`."""
    rows = [_row(comparison, group) for group in comparison.groups]
    keys = comparison.variant_keys
    names = ["strategy", *keys]
    labels = [
        (g.strategy, *(_hashable(g.variant.get(key)) for key in keys)) for g in comparison.groups
    ]
    index = (
        pandas.MultiIndex.from_tuples(labels, names=names)
        if keys
        else pandas.Index([label[0] for label in labels], name="strategy")
    )
    columns = pandas.MultiIndex.from_tuples(rows[0], names=["measure", "statistic"])
    return pandas.DataFrame([list(row.values()) for row in rows], index=index, columns=columns)


def by_seed(group: Group, value: Callable[[Outcome], float]) -> dict[int, float]:
    """A number of every run of a group that has one."""
    return {seed: value(one) for seed, one in group.outcomes.items()}


def _measures(comparison: Comparison) -> dict[str, Callable[[Outcome], float]]:
    """What is told of a run; NaN where the run does not tell."""

    def on(domain: str) -> Callable[[Outcome], float]:
        return lambda run: run.domains.get(domain, math.nan)

    return {
        **{domain: on(domain) for domain in comparison.domains},
        ALL_DOMAINS: lambda run: _over_all(comparison, run),
        WORST: lambda run: run.spread.worst if run.spread else math.nan,
        SPREAD: lambda run: run.spread.deviation if run.spread else math.nan,
        BYTES: lambda run: run.traffic,
        SECONDS: lambda run: run.seconds,
        **({VIRTUAL: _virtual} if on_devices(comparison) else {}),
    }


def on_devices(comparison: Comparison) -> bool:
    """Whether any run has virtual time to tell."""
    outcomes = (one for group in comparison.groups for one in group.outcomes.values())
    return any(one.virtual is not None for one in outcomes)


def _virtual(run: Outcome) -> float:
    return math.nan if run.virtual is None else run.virtual


def _over_all(comparison: Comparison, run: Outcome) -> float:
    """Mean over all domains of the comparison: a run that lacks one has no such mean."""
    return run.mean if run.domains.keys() == set(comparison.domains) else math.nan


def _row(comparison: Comparison, group: Group) -> dict[tuple[str, str], float]:
    row: dict[tuple[str, str], float] = {
        ("runs", "finished"): len(group.outcomes),
        ("runs", "planned"): len(group.seeds),
    }
    measures = _measures(comparison)
    for measure in (*comparison.domains, ALL_DOMAINS, WORST, SPREAD):
        row |= _estimated(measure, by_seed(group, measures[measure]))
    reference = comparison.reference(group)
    difference = paired_difference(
        by_seed(group, measures[ALL_DOMAINS]),
        by_seed(reference, measures[ALL_DOMAINS]),
        comparison.confidence,
    )
    own = group is reference  # nothing to tell, and an interval of no width at that
    for name in ("mean", "low", "high"):
        row[DIFFERENCE, name] = math.nan if own else getattr(difference, name)
    row[DIFFERENCE, "pairs"] = 0 if own else difference.pairs
    costs = [measure for measure in (BYTES, SECONDS, VIRTUAL) if measure in measures]
    if comparison.target is not None:
        reaching = {ROUNDS_TO: round_reaching, BYTES_TO: bytes_reaching}
        if VIRTUAL in costs:
            reaching[VIRTUAL_TO] = virtual_seconds_reaching
        for measure, reach in reaching.items():
            reached = {s: reach(group.runs[s].history, comparison.target) for s in group.outcomes}
            row |= _reached(measure, reached)
    for measure in costs:
        row |= _estimated(measure, by_seed(group, measures[measure]))
    return row


def _estimated(measure: str, values: Mapping[int, float]) -> dict[tuple[str, str], float]:
    found = estimate(list(values.values()))
    return {(measure, "mean"): found.mean, (measure, "deviation"): found.deviation}


def _reached(measure: str, values: Mapping[int, float | None]) -> dict[tuple[str, str], float]:
    """A mean over the quick ones alone would flatter: there is one only if all runs got there."""
    got = {seed: value for seed, value in values.items() if value is not None}
    told = _estimated(measure, got if len(got) == len(values) else {})
    return {(measure, "reached"): len(got), **told}


def _hashable(value: Any) -> Any:
    return in_words(value) if isinstance(value, list | dict) else value
