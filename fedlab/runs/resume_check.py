"""Whether a run that goes on is still the one that was begun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.config.scenario_diff import IN_MID_RUN, differences
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.scenario import Scenario

CHOOSING = {"validation", "select", "patience", "every", "metrics"}
"""What of the evaluation says which round is chosen."""


def fixed_settings(scenario: Scenario) -> dict[str, Any]:
    """All that must stay as it is, as JSON values."""
    threads = scenario.resources.model_dump(include={"cpus_per_actor"})
    fixed = {**scenario.model_dump(mode="json", exclude=set(IN_MID_RUN)), "resources": threads}
    if scenario.evaluation.validation is not None:  # who trains on what, and what was chosen
        fixed["evaluation"] = scenario.evaluation.model_dump(mode="json", include=CHOOSING)
    return fixed


def check_resumable(begun: Mapping[str, Any], scenario: Scenario, file: Path) -> None:
    """Refuses to go on with another scenario than a checkpoint was made with.

    Args:
        begun: What `fixed_settings` was then.
        scenario: What the run would go on with.
        file: The run's scenario, for the error.

    Raises:
        InputError: With every key that is another, its value now and then.
    """
    changed = differences(begun, fixed_settings(scenario))
    if changed:
        lines = [f"{k} is {in_words(now)} and was {in_words(then)}" for k, then, now in changed]
        raise InputError(
            f"{file}: the run was begun with another scenario: {'; '.join(lines)}; set that back, "
            "or start another run (one that goes on may change "
            f"{', '.join(sorted(IN_MID_RUN))} alone)"
        )
