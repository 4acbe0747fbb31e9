"""The notes below a comparison's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.comparison.aggregations import AGGREGATIONS, LAST, tested_rounds
from fedlab.comparison.columns import SIGN, enough_seeds, paired
from fedlab.comparison.significance import enough_pairs, least_p
from fedlab.comparison.table import (
    ADAPTED,
    HELD_OUT,
    P,
    held_out,
    some_never_trained,
)
from fedlab.comparison.unseen import unseen_by, untested
from fedlab.comparison.work import work_notes
from fedlab.report.units import short
from fedlab.runs.best_round import LISTED, numbered, unscored_rounds
from fedlab.runs.metrics import has_global_rows

if TYPE_CHECKING:
    from fedlab.comparison.aggregations import ChosenColumn
    from fedlab.comparison.compared import Compared
    from fedlab.comparison.group import Group

LONGEST = 60
"""Letters of a list of domains."""


def notes(comparison: Compared) -> list[str]:
    """The notes below the table, missing runs included."""
    lines = [
        f"Test {comparison.score.words}{comparison.score.unit} after {_which(comparison)}; ± is "
        "the standard deviation over seeds, spread over clients that over the clients of a run "
        "(mean over seeds)."
    ]
    if comparison.tuned is not None:
        lines.append(comparison.tuned.note)
    if len(comparison.groups) > 1:
        lines.append(
            f"difference: of the mean over domains, to {_reference(comparison)}, paired by seed, "
            f"with its {100 * comparison.confidence:g} % confidence interval (Student's t)."
        )
        lines.append(_claims(comparison))
    if comparison.target is not None:
        lines.append(
            "Where not all runs reached the target, the number of those that did is shown."
        )
    lines += _too_few_tests(comparison)
    lines += _unscored(comparison)
    lines += _unseen(comparison)
    if some_never_trained(comparison):
        lines.append(
            "never trained: clients of a run that were tested and had never been drawn to train "
            "(mean over seeds); what stays with them is as it was before the first round. Mean "
            "over trained clients and worst trained client leave them out."
        )
    lines += _held_out(comparison)
    lines += work_notes(comparison)
    lines.append("traffic: up and down, evaluation included.")
    return lines + missing(comparison)


def _claims(comparison: Compared) -> str:
    """The note on which claims so many seeds allow."""
    if enough_seeds(comparison):
        return (
            f"{P}: how often turned signs of the differences by seed give a mean as far from 0 "
            "(two-sided), corrected by Holm for the number of differences."
        )
    pairs, many = paired(comparison)
    enough = enough_pairs(many or len(comparison.groups) - 1)
    if not pairs:
        return f"Nothing is paired; claims take {enough} seeds of both or more (--seeds {enough})."
    corrected = f", corrected by Holm for {many} differences" * (many > 1)
    several = "s" * (pairs > 1)
    return (
        f"{pairs} pair{several} of runs cannot show a difference at 5 %: turned signs have p of "
        f"at least {least_p(pairs, many):.2g}{corrected}. Claims take {enough} seeds or more "
        f"(--seeds {enough})."
    )


def missing(comparison: Compared) -> list[str]:
    """Which runs are missing, and why."""
    return [
        f"missing: {group.label}, seed {seed}: {group.missing_reason(seed)}"
        for group in comparison.groups
        for seed in group.seeds
        if seed not in group.outcomes
    ]


def _which(comparison: Compared) -> str:
    return "the round that is best on validation" if comparison.chosen else "the last round"


def _too_few_tests(comparison: Compared) -> list[str]:
    """Why cells of ``last_five`` are empty, for each column."""
    lines = []
    for column in comparison.asked:
        if column.aggregation is not AGGREGATIONS["last_five"]:
            continue
        few = {
            group.label: min(counts)
            for group in comparison.groups
            if (counts := _tests(group, column)) and min(counts) < LAST
        }
        if few:
            tested = ", ".join(f"{label}: {count}" for label, count in few.items())
            lines.append(
                f"{column.title}: empty where a run has fewer than {LAST} tested rounds "
                f"({tested}); evaluation.every=1 tests every round."
            )
    return lines


def _tests(group: Group, column: ChosenColumn) -> list[int]:
    """The number of tested rounds of each of a group's runs."""
    return [tested_rounds(one.history, one.round, column.metric) for one in group.outcomes.values()]


def _unscored(comparison: Compared) -> list[str]:
    """The note on rounds that could not be judged on validation."""
    lines = []
    for group in comparison.groups:
        for seed, run in sorted(group.runs.items()):
            if run.chosen_round is None:
                continue
            if rounds := unscored_rounds(run.history, comparison.score):
                lines.append(f"{group.label}, seed {seed}: {numbered(list(rounds))}")
    if not lines:
        return []
    more = f"; and of {len(lines) - LISTED} more runs" * (len(lines) > LISTED)
    return [
        f"Rounds that could not be chosen, for their validation {comparison.score.words} is not "
        f"defined on every domain: {'; '.join(lines[:LISTED])}{more}."
    ]


def _unseen(comparison: Compared) -> list[str]:
    """The note on unseen domains."""
    by_domain = [unseen_by(comparison, domain) for domain in comparison.domains]
    lines = []
    if any(all(by) for by in by_domain):
        lines.append("unseen: no client has samples of this domain; the global model is tested.")
    if any(any(by) and not all(by) for by in by_domain):
        lines.append(
            f"{SIGN}: no client of this group has samples of this domain; the global model is "
            "tested."
        )
    lines += [
        f"{label}: has no number on {short(', '.join(names), LONGEST)}, which no client has, for "
        "it leaves no global model to test there; nor has it a mean over all domains."
        for label, names in untested(comparison).items()
    ]
    return lines


def _held_out(comparison: Compared) -> list[str]:
    """Notes about held-out clients, which are never trained."""
    measures = held_out(comparison)
    if not measures:
        return []
    steps = sorted({run.scenario.evaluation.adapt_steps for run in comparison.runs} - {0})
    after = f"; adapted: after {' or '.join(map(str, steps))} steps on their own samples"
    lines = [
        f"{HELD_OUT}: mean over the clients that never train (partition.held_out_clients), each "
        "on its own test samples" + after * (ADAPTED in measures) + "."
    ]
    partial = [
        group.label
        for group in comparison.groups
        if any(_keeps_a_part(group, seed) for seed in group.outcomes)
    ]
    if partial:
        lines.append(
            f"{', '.join(partial)}: leaves no global model; what stays with clients has its "
            "initial values at held-out clients."
        )
    return lines


def _keeps_a_part(group: Group, seed: int) -> bool:
    """Whether tests of a global model were asked for, but the method leaves none."""
    spec, outcome = group.runs[seed].scenario.evaluation, group.outcomes[seed]
    asked = spec.domains or spec.fraction == 1
    return asked and not has_global_rows(outcome.history, outcome.round)


def _reference(comparison: Compared) -> str:
    """The reference of differences, in words."""
    first = comparison.groups[0]
    if all(group.strategy == first.strategy for group in comparison.groups):
        return first.label
    return first.strategy + " under the same setting" * bool(first.variant)
