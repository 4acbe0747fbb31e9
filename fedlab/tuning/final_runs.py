"""The comparison at the end: every method with what was chosen for it, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.comparison.comparison_folder import RunEntry
from fedlab.comparison.group import strategy_label
from fedlab.comparison.plan import PlannedRun, with_folders
from fedlab.tuning.trials import Asked, value_of


def final_runs(
    asked: Asked, chosen: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], before: bool
) -> list[PlannedRun]:
    """The runs, group by group.

    Args:
        asked: What is tuned.
        chosen: For each method, in the order of `asked`, the values that were chosen.
        seeds: Seeds of the comparison.
        before: Whether every method also runs as the scenario has it.
    """
    shared = dict.fromkeys(
        key for values in chosen.values() for key in values if not key.startswith("strategy.")
    )
    planned: list[PlannedRun] = []
    for strategy, values in zip(asked.strategies or [None], chosen.values(), strict=True):
        for each in [{}, values] if before and values else [values]:
            for seed in seeds:
                scenario = asked.scenario(strategy, each, seed)
                variant = {key: value_of(scenario, key) for key in shared}
                label = strategy_label(scenario.strategy)
                planned.append(PlannedRun(RunEntry("", label, variant, seed), scenario))
    return with_folders(planned)
