"""What a method does in a round: the objective it minimises, and the work of a client for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedlab.comparison.sentences import NONE, Column, words
from fedlab.comparison.table import (
    BACKWARD,
    DOWN,
    FORWARD,
    LABELLED,
    PARAMETERS,
    STEPS,
    UNLABELLED,
    UP,
    WORK,
    differing_work,
    work,
)
from fedlab.report.units import size

if TYPE_CHECKING:
    from fedlab.comparison.compared import Compared
    from fedlab.comparison.group import Group

COUNT = "clients count"
IN_WORDS = {
    "examples": "by examples",
    "uniform": "all the same",
    "alone": "each alone",
    "rule": "by its own rule",
}
TITLES = {
    STEPS: "steps",
    FORWARD: "samples forward",
    BACKWARD: "samples backward",
    LABELLED: "labelled a step",
    UNLABELLED: "unlabelled a step",
    PARAMETERS: "parameters trained",
    UP: "sent up",
    DOWN: "sent down",
}


def work_columns(comparison: Compared) -> list[Column]:
    """The weighting of clients and the work of a round, where methods differ in them."""
    found = [_count(comparison)] if objectives_differ(comparison) else []
    return found + [_asked(comparison, measure) for measure in differing_work(comparison)]


def all_work(comparison: Compared) -> list[Column]:
    """The same of all methods, also where they agree; columns without a number are left out."""
    asked = (_asked(comparison, measure) for measure in WORK)
    return [
        words("method", [group.label for group in comparison.groups]),
        _count(comparison),
        *(column for column in asked if any(cell != NONE for cell in column.cells)),
    ]


def objectives_differ(comparison: Compared) -> bool:
    """Whether methods weight clients differently, where this changes the objective."""
    kinds = {_kind(group) for group in comparison.groups} - {None, "alone"}
    outcomes = (one for group in comparison.groups for one in group.outcomes.values())
    return len(kinds) > 1 and any(one.unequal for one in outcomes)


def work_notes(comparison: Compared) -> list[str]:
    """The notes on these columns."""
    lines = []
    if objectives_differ(comparison):
        lines.append(
            "clients count: in the loss that a method minimises, by their examples or all the "
            "same. These are two objectives; strategy.weighting=examples or "
            "strategy.weighting=uniform makes them one" + _exceptions(comparison) + "."
        )
    found = differing_work(comparison)
    if found:
        names = ", ".join(TITLES[measure] for measure in found)
        lines.append(
            f"{names}: of a client in a round (mean over clients, rounds and seeds); what a "
            "method asks before the first round counts as sent."
        )
    if {FORWARD, BACKWARD} & set(found):
        lines.append(
            "samples forward, samples backward: through the network, in a round of a client (mean "
            "over those that may train); a sample that goes through twice counts twice, and one "
            "whose gradients go back through a part counts as well."
        )
    return lines


def _exceptions(comparison: Compared) -> str:
    """Methods that have that key elsewhere, or not at all."""
    used = [run.scenario.strategy for group in comparison.groups for run in group.runs.values()]
    named = {str(each.name): each.clients_count for each in used}
    lines = []
    elsewhere = {str(each.name) for each in used if each.weighting_key != "weighting"}
    if over := [name for name in named if name in elsewhere]:
        lines.append(f"of {' and '.join(over)} it is strategy.base.weighting")
    lines += [
        f"{name} knows its own way alone"
        for name, counts in named.items()
        if name.startswith("flwr:") or (counts == "rule" and name not in over)
    ]
    return f" ({'; '.join(lines)})" if lines else ""


def _kind(group: Group) -> str | None:
    return next((run.scenario.strategy.clients_count for run in group.runs.values()), None)


def _count(comparison: Compared) -> Column:
    kinds = [_kind(group) for group in comparison.groups]
    return words(COUNT, [NONE if kind is None else IN_WORDS[kind] for kind in kinds])


def _asked(comparison: Compared, measure: str) -> Column:
    numbers = [work(group, measure) for group in comparison.groups]
    cells = [NONE if math.isnan(value) else _in_words(measure, value) for value in numbers]
    return words(TITLES[measure], cells, number=True)


def _in_words(measure: str, value: float) -> str:
    if measure in (STEPS, LABELLED, UNLABELLED, FORWARD, BACKWARD):
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:,.0f}" if measure == PARAMETERS else size(value)
