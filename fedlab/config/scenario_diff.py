"""Whether two scenarios are the same experiment: what differs, and what may.

A run that goes on, a comparison, a folder that is taken again, a deployment that goes on and the
commands on a report's page all ask this, and each may ignore other blocks: named below.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from fedlab.config.yaml_text import in_words

IN_MID_RUN = ("name", "description", "rounds", "evaluation", "resources", "output")
"""Blocks that may change before a run goes on: no round that was trained would have been another.
Of `resources`, the threads of an actor must stay: sums over more of them are rounded otherwise."""

NO_RESULT = ("name", "description", "engine", "resources", "output")
"""Blocks that change no result, or rounding at most: two runs that differ in them are one run."""

METHOD_AND_SEED = ("strategy", "seed")
"""Blocks that the runs of one comparison differ in."""


class Difference(NamedTuple):
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
        """What is there, and what is wanted, as YAML has it."""
        return f"{self.key}={in_words(self.before)} and not {in_words(self.after)}"


def flatten(values: BaseModel | Mapping[str, Any], ignore: Collection[str] = ()) -> dict[str, Any]:
    """All values by dotted key, in the order of a scenario; an empty block is a value.

    >>> flatten({"seed": 0, "model": {"name": "mlp", "norm": None}}, ignore=["seed"])
    {'model.name': 'mlp', 'model.norm': None}

    Args:
        values: A scenario, or what it is as JSON.
        ignore: Dotted keys, of blocks or of values, to leave out.
    """
    if isinstance(values, BaseModel):
        values = values.model_dump(mode="json")
    return {key: value for key, value in _leaves("", values) if not _is_in(key, ignore)}


def differences(
    before: BaseModel | Mapping[str, Any],
    after: BaseModel | Mapping[str, Any],
    ignore: Collection[str] = (),
) -> list[Difference]:
    """What differs between two scenarios, in the order of the first one's keys.

    A key that one of them lacks counts as null there: scenarios of an earlier version lack those
    that have been added since.

    Args:
        before: A scenario, or what it is as JSON.
        after: Another one.
        ignore: Dotted keys, of blocks or of values, that may differ.
    """
    one, other = flatten(before, ignore), flatten(after, ignore)
    return [Difference(k, one.get(k), other.get(k)) for k in differing_keys(one, other)]


def differing_keys(*flat: Mapping[str, Any]) -> list[str]:
    """Keys that have not the same value in all of several flattened scenarios."""
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
