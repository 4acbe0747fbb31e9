"""Refuses columns for which the runs will have no numbers, before any of them is started."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedlab.comparison.aggregations import AGGREGATIONS, LAST, ChosenColumn, asked
from fedlab.errors import InputError
from fedlab.scenario import Scenario


def check_columns(columns: Sequence[str], scenario: Scenario) -> None:
    """Refuses columns for which runs of a scenario will have no numbers.

    Args:
        columns: As `fedlab.comparison.aggregations.asked` takes them.
        scenario: What is run.

    Raises:
        InputError: With what the column needs, and the remedy.
    """
    for one in asked(columns, scenario.metric_set) if columns else ():
        if needs := _lacking(one, scenario):
            raise InputError(f"columns: '{one.title}' needs {needs}, or leave the column out")


def _lacking(column: ChosenColumn, scenario: Scenario) -> str:
    """What a column needs, why runs do not have it, and the remedy; empty if they do."""
    how, spec = column.aggregation, scenario.evaluation
    is_validated = how is AGGREGATIONS["validated"]
    if is_validated and not spec.validation:
        return (
            "validation samples, and the runs have none; set evaluation.validation to a share, "
            "such as 0.2"
        )
    if (is_validated or how.over_clients) and spec.fraction == 0:
        does = "validate" if is_validated else "test"
        return f"clients that {does}, and evaluation.fraction is 0; raise it"
    chosen = spec.select == "validation"
    if how is AGGREGATIONS["oracle"] and chosen:
        return (
            "a test of every evaluated round, and evaluation.select=validation tests the chosen "
            "one alone; set evaluation.select=last"
        )
    tested = 1 if chosen else math.ceil(scenario.rounds / spec.every)
    if how is AGGREGATIONS["last_five"] and tested < LAST:
        cause = "evaluation.select=validation" if chosen else f"evaluation.every={spec.every}"
        remedy = "evaluation.select=last and " * chosen + "evaluation.every=1"
        longer = f" and rounds to {LAST} or more" * (scenario.rounds < LAST)
        return (
            f"{LAST} tested rounds, and {cause} tests {tested} of {scenario.rounds}; set "
            f"{remedy}{longer}"
        )
    return ""
