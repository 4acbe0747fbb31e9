"""Differences between two scenarios, with blocks that may differ.

Used for resumed runs and deployments, comparisons, reused folders and the commands on a report's
page. The blocks that each of them ignores are named below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from fedlab.config.yaml_text import in_words

IN_MID_RUN = ("name", "description", "rounds", "evaluation", "resources", "output")
"""Blocks that may change before a run is resumed, as they do not affect the trained rounds. Of
`resources`, the threads of an actor must stay, as the rounding of sums depends on them."""

NO_RESULT = ("name", "description", "engine", "resources", "output")
"""Blocks that do not affect results beyond rounding."""

METHOD_AND_SEED = ("strategy", "seed")
"""Blocks in which the runs of a comparison differ."""


class KeyDifference(NamedTuple):
    """A key that has two values.

    Attributes:
        key: Its dotted name.
        before: Its value in the first of two scenarios; None where the key is absent.
        after: Likewise in the second.
    """

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """Both values as YAML."""
        return f"{self.key}={in_words(self.before)} and not {in_words(self.after)}"


def flatten(values: BaseModel | Mapping[str, Any], ignore: Collection[str] = ()) -> dict[str, Any]:
    """All values by dotted key, in the order of a scenario; an empty block is a value.

    >>> flatten({"seed": 0, "model": {"name": "mlp", "norm": None}}, ignore=["seed"])
    {'model.name': 'mlp', 'model.norm': None}

    Args:
        values: A scenario, or its JSON values.
        ignore: Dotted keys, of blocks or of values, to leave out.
    """
    if isinstance(values, BaseModel):
        values = values.model_dump(mode="json")
    return {key: value for key, value in _leaves("", values) if not _is_in(key, ignore)}


def differences(
    before: BaseModel | Mapping[str, Any],
    after: BaseModel | Mapping[str, Any],
    ignore: Collection[str] = (),
) -> list[KeyDifference]:
    """The differences between two scenarios, in the order of the first one's keys.

    A missing key counts as null: scenarios of an earlier version lack keys that were added later.

    Args:
        before: A scenario, or its JSON values.
        after: Another one.
        ignore: Dotted keys, of blocks or of values, that may differ.
    """
    one, other = flatten(before, ignore), flatten(after, ignore)
    return [KeyDifference(k, one.get(k), other.get(k)) for k in differing_keys(one, other)]


def differing_keys(*flat: Mapping[str, Any]) -> list[str]:
    """Keys whose values are not the same in all flattened scenarios."""
    keys = dict.fromkeys(key for each in flat for key in each)
    return [key for key in keys if any(each.get(key) != flat[0].get(key) for each in flat)]


def _leaves(place: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in values.items():
        inner = f"{place}.{key}" if place else str(key)
        leaves += (
            _leaves(inner, value) if isinstance(value, Mapping) and value else [(inner, value)]
        )
    return leaves


def _is_in(key: str, blocks: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{block}.") for block in blocks)
