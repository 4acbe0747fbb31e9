"""Checks that a resumed run has the same scenario as before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.config.scenario_diff import IN_MID_RUN, differences
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.scenario import Scenario

CHOOSING = {"validation", "select", "patience", "every", "metrics"}
"""Keys of the evaluation that determine which round is chosen."""


def fixed_settings(scenario: Scenario) -> dict[str, Any]:
    """The settings that must not change, as JSON values."""
    threads = scenario.resources.model_dump(include={"cpus_per_actor"})
    fixed = {**scenario.model_dump(mode="json", exclude=set(IN_MID_RUN)), "resources": threads}
    if scenario.evaluation.validation is not None:  # who trains on what, and what was chosen
        fixed["evaluation"] = scenario.evaluation.model_dump(mode="json", include=CHOOSING)
    return fixed


def check_resumable(begun: Mapping[str, Any], scenario: Scenario, file: Path) -> None:
    """Refuses to resume with another scenario than that of the checkpoint.

    Args:
        begun: The checkpoint's `fixed_settings`.
        scenario: The scenario to resume with.
        file: The run's scenario, for the error.

    Raises:
        InputError: With every key that differs, and both values.
    """
    changed = differences(begun, fixed_settings(scenario))
    if changed:
        lines = [f"{k} is {in_words(now)} and was {in_words(then)}" for k, then, now in changed]
        raise InputError(
            f"{file}: the run was begun with another scenario: {'; '.join(lines)}; set that back, "
            "or start another run (one that goes on may change "
            f"{', '.join(sorted(IN_MID_RUN))} alone{_but_choosing(scenario)})"
        )


def _but_choosing(scenario: Scenario) -> str:
    """What of the evaluation stays, in words."""
    if scenario.evaluation.validation is None:
        return ""
    return f", of evaluation not {', '.join(sorted(CHOOSING))}"
