"""The final comparison: every method with its chosen values, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.comparison.comparison_folder import RunEntry
from fedlab.comparison.group import label_of, strategy_label
from fedlab.comparison.plan import PlannedRun, with_folders
from fedlab.tuning.trials import TuningRequest


def final_runs(
    asked: TuningRequest,
    chosen: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    before: bool,
) -> list[PlannedRun]:
    """The runs, group by group.

    Args:
        asked: What is tuned.
        chosen: For each method, in the order of `asked`, the values that were chosen.
        seeds: Seeds of the comparison.
        before: Whether every method also runs as the scenario has it.
    """
    planned: list[PlannedRun] = []
    for strategy, values in zip(asked.strategies or [None], chosen.values(), strict=True):
        for each in [{}, values] if before and values else [values]:
            for seed in seeds:
                scenario = asked.scenario(strategy, each, seed)
                label = label_of(strategy_label(scenario.strategy), settings(each))
                planned.append(PlannedRun(RunEntry("", label, {}, seed), scenario))
    return with_folders(planned)


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen values of shared keys, by the last word of each key.

    They are part of the method's label: in this comparison, the first method, the reference, has
    its own chosen values, e.g. another learning rate.
    """
    return {k.rpartition(".")[2]: v for k, v in values.items() if not k.startswith("strategy.")}
