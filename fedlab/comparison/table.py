"""The numbers of a comparison: of every run, and of every group over its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas

from fedlab.comparison.group import Group
from fedlab.comparison.significance import holm, sign_flip
from fedlab.comparison.statistics import RunOutcome, estimate, paired_difference
from fedlab.config.yaml_text import in_words
from fedlab.runs.curves import bytes_reaching, round_reaching, virtual_seconds_reaching

if TYPE_CHECKING:
    from fedlab.comparison.aggregations import ChosenColumn
    from fedlab.comparison.compared import Compared
    from fedlab.runs.metrics import Spread

ALL_DOMAINS, WORST, SPREAD = "all domains", "worst client", "spread over clients"
DIFFERENCE, BYTES, SECONDS = "difference", "bytes", "seconds"
P = "p (Holm)"
ROUNDS_TO, BYTES_TO = "rounds to target", "bytes to target"
VIRTUAL, VIRTUAL_TO = "virtual seconds", "virtual seconds to target"
NEVER, CLIENTS = "never trained", "mean over clients"
TRAINED, WORST_TRAINED = "mean over trained clients", "worst trained client"
HELD_OUT, ADAPTED = "held-out clients", "held-out clients, adapted"
STEPS, PARAMETERS, UP, DOWN = "steps", "parameters trained", "bytes up", "bytes down"
FORWARD, BACKWARD = "samples forward", "samples backward"
LABELLED, UNLABELLED = "labelled samples a step", "unlabelled samples a step"
WORK = (STEPS, LABELLED, UNLABELLED, FORWARD, BACKWARD, PARAMETERS, UP, DOWN)
"""What a round asks of a client."""


def results(comparison: Compared) -> pandas.DataFrame:
    """See `Comparison.results`."""
    rows = []
    for group in comparison.groups:
        for seed in group.seeds:
            row: dict[str, Any] = {"strategy": group.strategy, **group.variant, "seed": seed}
            run = group.outcomes.get(seed)
            row["state"] = "finished" if run else group.missing_reason(seed)
            row["round"] = run.round if run else math.nan
            for measure, value in _measures(comparison).items():
                row[measure] = value(run) if run else math.nan
            rows.append(row)
    return pandas.DataFrame(rows).astype({"round": "Int64"})


def table(comparison: Compared) -> pandas.DataFrame:
    """See `Comparison.table`; made once."""
    known = vars(comparison)
    if "_table" not in known:
        known["_table"] = _made(comparison)
    return known["_table"].copy()


def _made(comparison: Compared) -> pandas.DataFrame:
    asked = differing_work(comparison)
    rows = [
        _row(comparison, group) | {(measure, "mean"): work(group, measure) for measure in asked}
        for group in comparison.groups
    ]
    corrected = holm({str(place): row[DIFFERENCE, "p"] for place, row in enumerate(rows)})
    for place, row in enumerate(rows):
        row[DIFFERENCE, P] = corrected[str(place)]
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


def by_seed(group: Group, value: Callable[[RunOutcome], float]) -> dict[int, float]:
    """A number of every run of a group that has one."""
    return {seed: value(one) for seed, one in group.outcomes.items()}


def _measures(comparison: Compared) -> dict[str, Callable[[RunOutcome], float]]:
    """Column -> a run's number in it; NaN where the run has none."""

    def on(domain: str) -> Callable[[RunOutcome], float]:
        return lambda run: run.domains.get(domain, math.nan)

    return {
        **{domain: on(domain) for domain in comparison.domains},
        ALL_DOMAINS: lambda run: over_all(comparison, run),
        WORST: lambda run: run.spread.worst if run.spread else math.nan,
        SPREAD: lambda run: run.spread.deviation if run.spread else math.nan,
        **(_OF_TRAINED if some_never_trained(comparison) else {}),
        **{measure: _OF_HELD_OUT[measure] for measure in held_out(comparison)},
        **{one.title: _asked(one) for one in comparison.asked},
        BYTES: lambda run: run.traffic,
        SECONDS: lambda run: run.seconds,
        **({VIRTUAL: _virtual} if on_devices(comparison) else {}),
    }


def _asked(one: ChosenColumn) -> Callable[[RunOutcome], float]:
    """A further column's number of a run."""
    return lambda run: one.value(run.history, run.round)


def _of_trained(value: Callable[[Spread], float]) -> Callable[[RunOutcome], float]:
    """A number of the clients that have trained; NaN where none of them has."""

    def of_run(run: RunOutcome) -> float:
        if run.spread is None or run.spread.untrained == run.spread.clients:
            return math.nan
        return value(run.spread.of_trained or run.spread)

    return of_run


_OF_TRAINED: dict[str, Callable[[RunOutcome], float]] = {
    CLIENTS: lambda run: run.spread.mean_over_clients if run.spread else math.nan,
    TRAINED: _of_trained(lambda spread: spread.mean_over_clients),
    WORST_TRAINED: _of_trained(lambda spread: spread.worst),
    NEVER: lambda run: run.spread.untrained if run.spread else math.nan,
}
"""Columns of runs that have tested clients that have never trained."""


def some_never_trained(comparison: Compared) -> bool:
    """Whether any run has tested clients that have never trained."""
    outcomes = (one for group in comparison.groups for one in group.outcomes.values())
    return any(one.spread is not None and one.spread.untrained for one in outcomes)


_OF_HELD_OUT: dict[str, Callable[[RunOutcome], float]] = {
    HELD_OUT: lambda run: run.held_out,
    ADAPTED: lambda run: run.adapted,
}
"""Means over held-out clients, which are never trained."""


def held_out(comparison: Compared) -> list[str]:
    """The columns of held-out clients in which any run has a number."""
    outcomes = [one for group in comparison.groups for one in group.outcomes.values()]
    return [
        measure
        for measure, value in _OF_HELD_OUT.items()
        if any(not math.isnan(value(one)) for one in outcomes)
    ]


def on_devices(comparison: Compared) -> bool:
    """Whether any run has virtual time."""
    outcomes = (one for group in comparison.groups for one in group.outcomes.values())
    return any(one.virtual is not None for one in outcomes)


def _virtual(run: RunOutcome) -> float:
    return math.nan if run.virtual is None else run.virtual


def over_all(comparison: Compared, run: RunOutcome) -> float:
    """Mean over all domains of the comparison: a run that lacks one has no such mean."""
    return run.mean if run.domains.keys() == set(comparison.domains) else math.nan


def _row(comparison: Compared, group: Group) -> dict[tuple[str, str], float]:
    row: dict[tuple[str, str], float] = {
        ("runs", "finished"): len(group.outcomes),
        ("runs", "planned"): len(group.seeds),
    }
    measures = _measures(comparison)
    clients = [each for each in (*_OF_TRAINED, *_OF_HELD_OUT) if each in measures]
    more = [one.title for one in comparison.asked]
    for measure in (*comparison.domains, ALL_DOMAINS, WORST, SPREAD, *clients, *more):
        row |= _estimated(measure, by_seed(group, measures[measure]))
    reference = comparison.reference(group)
    difference = paired_difference(
        by_seed(group, measures[ALL_DOMAINS]),
        by_seed(reference, measures[ALL_DOMAINS]),
        comparison.confidence,
    )
    own = group is reference  # its difference to itself is no result
    for name in ("mean", "low", "high"):
        row[DIFFERENCE, name] = math.nan if own else getattr(difference, name)
    row[DIFFERENCE, "pairs"] = 0 if own else difference.pairs
    row[DIFFERENCE, "p"] = math.nan if own else sign_flip(difference.by_seed)
    costs = [measure for measure in (BYTES, SECONDS, VIRTUAL) if measure in measures]
    if comparison.target is not None:
        reaching = {ROUNDS_TO: round_reaching, BYTES_TO: bytes_reaching}
        if VIRTUAL in costs:
            reaching[VIRTUAL_TO] = virtual_seconds_reaching
        for measure, reach in reaching.items():
            reached = {
                seed: reach(group.runs[seed].history, comparison.target, comparison.score)
                for seed in group.outcomes
            }
            row |= _reached(measure, reached)
    for measure in costs:
        row |= _estimated(measure, by_seed(group, measures[measure]))
    return row


def work(group: Group, measure: str) -> float:
    """What a round asks of a client, the mean over seeds; NaN where the runs do not have it.

    Args:
        group: The method.
        measure: One of `WORK`.
    """
    written = {
        PARAMETERS: "parameters",
        FORWARD: "forward",
        BACKWARD: "backward",
        LABELLED: "labelled",
        UNLABELLED: "unlabelled",
    }
    if measure in written:
        workloads = [group.runs[seed].workload for seed in group.outcomes]
        return estimate([one.get(written[measure], math.nan) for one in workloads]).mean
    of_run = {STEPS: "steps", UP: "up", DOWN: "down"}[measure]
    return estimate([getattr(one, of_run) for one in group.outcomes.values()]).mean


def differing_work(comparison: Compared) -> list[str]:
    """The measures of a client's round in which methods differ."""
    found = []
    for measure in (each for each in WORK if each != DOWN):
        numbers = [work(group, measure) for group in comparison.groups]
        known = [value for value in numbers if not math.isnan(value)]
        if known and not math.isclose(min(known), max(known), rel_tol=1e-9):
            found.append(measure)
    return found


def _estimated(measure: str, values: Mapping[int, float]) -> dict[tuple[str, str], float]:
    found = estimate(list(values.values()))
    return {(measure, "mean"): found.mean, (measure, "deviation"): found.deviation}


def _reached(measure: str, values: Mapping[int, float | None]) -> dict[tuple[str, str], float]:
    """The mean over runs, if all reached the target, and how many did; else the mean is biased."""
    got = {seed: value for seed, value in values.items() if value is not None}
    estimated = _estimated(measure, got if len(got) == len(values) else {})
    return {(measure, "reached"): len(got), **estimated}


def _hashable(value: Any) -> Any:
    return in_words(value) if isinstance(value, list | dict) else value
