"""Whether runs may stand in one table: what differs between them besides method and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.runs.run_record import RunRecord
from fedlab.scenario import Scenario

NO_MATTER = ("name", "description", "seed", "strategy", "engine", "resources", "output")
"""Blocks that two runs of one experiment may differ in: method and seed, which are compared, and
what changes no result, or rounding at most."""


def setting(scenario: Scenario) -> dict[str, Any]:
    """All that defines the experiment but method and seed, by dotted key."""
    return dict(_leaves("", scenario.model_dump(mode="json", exclude=set(NO_MATTER))))


def differences(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that are not the same in all settings, in the order of a scenario."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def refuse_other_experiments(runs: Sequence[RunRecord], remedy: str) -> None:
    """Refuses runs of different data or scenarios.

    Args:
        runs: Whatever is to be compared.
        remedy: What to do instead.

    Raises:
        InputError: With every key that differs, and a run for each of two of its values.
    """
    settings = [setting(run.scenario) for run in runs]
    lines = []
    for key in differences(settings):
        there: dict[str, RunRecord] = {}
        for values, run in zip(settings, runs, strict=True):
            there.setdefault(in_words(values.get(key)), run)
        told = [f"{value} in '{run.folder}'" for value, run in there.items()]
        more = f" and {len(told) - 2} more" * (len(told) > 2)
        lines.append(f"{key}: {', '.join(told[:2])}{more}")
    if lines:
        raise InputError("\n".join([f"these runs are of different experiments; {remedy}", *lines]))


def _leaves(place: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            leaf
            for key, inner in value.items()
            for leaf in _leaves(f"{place}.{key}" if place else str(key), inner)
        ]
    return [(place, value)]
