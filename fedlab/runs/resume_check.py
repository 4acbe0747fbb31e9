"""Whether a run that goes on is still the one that was begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedlab.errors import InputError
from fedlab.scenario import Scenario

FREE = {"name", "description", "rounds", "evaluation", "resources", "output"}
"""Blocks that may change in the middle: no round that was trained would have been another."""


def settled(scenario: Scenario) -> dict[str, Any]:
    """All that must stay as it is, as JSON values.

    The threads of an actor are among it: sums over more of them are rounded otherwise.
    """
    threads = scenario.resources.model_dump(include={"cpus_per_actor"})
    return {**scenario.model_dump(mode="json", exclude=FREE), "resources": threads}


def refuse_changed(begun: Mapping[str, Any], scenario: Scenario, file: Path) -> None:
    """Refuses to go on with another scenario than a checkpoint was made with.

    Args:
        begun: What `settled` was then.
        scenario: What the run would go on with.
        file: The run's scenario, for the error.

    Raises:
        InputError: With every key that is another, its value now and then.
    """
    then, now = (dict(_leaves("", values)) for values in (begun, settled(scenario)))
    lines = [
        f"{key} is {now.get(key, 'not there')} and was {then.get(key, 'not there')}"
        for key in dict.fromkeys([*then, *now])
        if then.get(key) != now.get(key)
    ]
    if lines:
        raise InputError(
            f"{file}: the run was begun with another scenario: {'; '.join(lines)}; set that back, "
            f"or start another run (one that goes on may change {', '.join(sorted(FREE))} alone)"
        )


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{place}.{key}" if place else str(key), inner)
    else:
        yield place, value
