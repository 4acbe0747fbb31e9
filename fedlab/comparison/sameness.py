"""Whether runs may stand in one table: what differs between them besides method and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.config.scenario_diff import METHOD_AND_SEED, NO_RESULT, differing_keys, flatten
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.runs.run_record import RunRecord
from fedlab.scenario import Scenario


def setting(scenario: Scenario) -> dict[str, Any]:
    """All keys and values of the experiment except method and seed, by dotted key."""
    return flatten(scenario, ignore=(*NO_RESULT, *METHOD_AND_SEED))


def refuse_other_experiments(runs: Sequence[RunRecord], remedy: str) -> None:
    """Refuses runs of different data or scenarios.

    Args:
        runs: The runs to be compared.
        remedy: What to do instead.

    Raises:
        InputError: With every key that differs, and a run for each of two of its values.
    """
    settings = [setting(run.scenario) for run in runs]
    lines = []
    for key in differing_keys(*settings):
        there: dict[str, RunRecord] = {}
        for values, run in zip(settings, runs, strict=True):
            there.setdefault(in_words(values.get(key)), run)
        listed = [f"{value} in '{run.folder}'" for value, run in there.items()]
        more = f" and {len(listed) - 2} more" * (len(listed) > 2)
        lines.append(f"{key}: {', '.join(listed[:2])}{more}")
    if lines:
        raise InputError("\n".join([f"these runs are of different experiments; {remedy}", *lines]))
