"""One weighting of clients for all methods of a comparison, so that they minimise one loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.comparison.work import IN_WORDS
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario

WEIGHTING = "strategy.weighting"
"""The key that a comparison is given it by."""


def weighted(
    source: str | Path | Mapping[str, Any] | Scenario,
    changes: Mapping[str, Any],
    fields: Mapping[str, Any],
    wanted: Any,
) -> dict[str, Any]:
    """A method's changes of a scenario, with the weighting of clients added under its key.

    Args:
        source: The scenario.
        changes: Changes that name the method, by dotted key, the weighting among them.
        fields: Changes of top-level fields.
        wanted: ``examples`` or ``uniform``.

    Raises:
        InputError: If the method weights clients in another way, which no key changes.
    """
    without = {key: value for key, value in changes.items() if key != WEIGHTING}
    method = load_scenario(source, without, **fields).strategy
    found = without | {f"strategy.{method.weighting_key}": wanted}
    counts = load_scenario(source, found, **fields).strategy.clients_count
    if counts not in (wanted, "alone"):
        raise InputError(
            f"{WEIGHTING}={wanted}: {method.name} minimises another loss, in which clients count "
            f"{IN_WORDS[counts]} for any value of this key; compare without {method.name}, or "
            f"leave {WEIGHTING} out and read the column that says how clients count"
        )
    return found
