"""Converts pydantic's validation errors to messages for the author of a scenario."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from fedlab.config import registry
from fedlab.config.component import Component, ConfigBlock
from fedlab.config.schema import child, keys, section_at
from fedlab.config.yaml_text import KeyPath
from fedlab.errors import InputError

SHOWN = 5
"""Largest number of problems with a line each; the others are counted."""

_FIELD = re.compile(r"[a-z_][a-z0-9_]*")
_TYPES = {"int", "float", "str", "bool", "tuple", "list", "dict", "is_instance", "none"}


def describe(
    error: ValidationError,
    root: type[ConfigBlock],
    values: Any,
    where: str,
    origins: dict[KeyPath, str],
) -> str:
    """All problems of a scenario, one a line: ``file:line: key: value: what; remedy``.

    Args:
        error: The validation error.
        root: The class that was validated.
        values: The user's values, with overrides.
        where: Name of the file.
        origins: Origin of values (``file:line`` or an override), by their place.
    """
    found: dict[KeyPath, list[tuple[dict[str, Any], bool]]] = {}
    for detail in _flatten(error, ()):
        place, is_branch = _without_union_tags(detail["loc"], detail["type"], values)
        if _is_about_name(detail):
            place = (*place, "name")
        found.setdefault(place, []).append((detail, is_branch))
    around = {place[:n] for place in found for n in range(len(place))}
    problems = [
        (place, details)
        for place, details in found.items()  # without those that only follow from inner problems
        if place not in around
        or not all(branch or detail["type"] == "too_short" for detail, branch in details)
    ]
    shown = problems if len(problems) <= SHOWN + 1 else problems[:SHOWN]
    lines = []
    for place, details in shown:
        origin = _origin(place, where, origins)
        said = dict.fromkeys(_sentence(detail, place, root, values) for detail, _ in details)
        what = " or ".join(said).replace(" or must be ", " or ")
        parts = [origin, ".".join(map(_short, place)), _value(details[0][0]), what]
        lines.append(": ".join(filter(None, parts)))
    if len(problems) > len(shown):
        lines.append(f"... and {len(problems) - len(shown)} more problems")
    return "\n".join(lines)


def _origin(place: KeyPath, where: str, origins: dict[KeyPath, str]) -> str:
    """The origin of a value: its own line, or that of an inner or the nearest outer block.

    A block that has no line itself but has an inner block with one was opened by an override.
    """
    inside = [origin for other, origin in origins.items() if place == other[: len(place)]]
    around = [origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origins]
    own = [origins[place]] if place in origins else []
    return next(iter([*own, *inside, *around]), where) if place else where


def _short(key: str | int) -> str:
    """A key, shortened to 60 characters."""
    text = str(key)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: str, known: list[str]) -> str:
    """Suggests the nearest of the known words, or all of them.

    A known word that the written one only adds to is nearest: `label` to `label_column`.
    """
    near = [each for each in known if word in (f"{each}_column", f"{each}s")]
    near = near or difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(known)}"


def _flatten(error: ValidationError, prefix: KeyPath) -> Iterator[dict[str, Any]]:
    """All details, with those of components, which are nested in the outer block's errors."""
    for detail in error.errors(include_url=False):
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            yield from _flatten(inner, (*prefix, *detail["loc"]))
        else:
            yield {**detail, "loc": (*prefix, *detail["loc"])}


def _without_union_tags(loc: KeyPath, kind: str, values: Any) -> tuple[KeyPath, bool]:
    """Removes pydantic's union tags from a place; returns whether there were any, too."""
    place: list[str | int] = []
    for position, key in enumerate(loc, start=1):
        is_missing = kind == "missing" and position == len(loc)
        is_there = child(values, key) is not None or (isinstance(values, dict) and key in values)
        is_key = isinstance(key, int) or (bool(_FIELD.fullmatch(key)) and key not in _TYPES)
        is_block = isinstance(values, dict | list | tuple) or values is None
        if is_there or is_missing or (is_block and is_key) or kind == "extra_forbidden":
            place.append(key)
            values = child(values, key)
    return tuple(place), len(place) < len(loc)


def _is_about_name(detail: dict[str, Any]) -> bool:
    """Whether a component written as a block has an unknown name."""
    refused = isinstance(getattr(detail.get("ctx", {}).get("error"), "__cause__", None), InputError)
    return refused and isinstance(detail["input"], dict)


def _value(detail: dict[str, Any]) -> str:
    """The refused value as YAML, shortened to 60 characters; empty for blocks."""
    value = detail["input"]
    if detail["type"] == "missing" or isinstance(value, dict | BaseModel):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if detail["type"] == "value_error" and f"'{text}'" in str(detail["ctx"]["error"]):
        return ""  # the sentence names it
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(detail: dict[str, Any], place: KeyPath, root: type[ConfigBlock], values: Any) -> str:
    """The problem of a value, and the remedy."""
    kind = detail["type"]
    if kind == "missing":
        return "is missing; write it, for it has no default"
    if kind == "extra_forbidden":
        return f"unknown key; {_known(place, root, values)}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in {"model_type", "model_attributes_type"}:
        section = section_at(root, place, values)
        return f"must be a block with the keys {', '.join(section.model_fields if section else ())}"
    if kind == "too_short":
        return f"needs at least {detail['ctx']['min_length']} item(s)"
    if kind in {"tuple_type", "list_type"}:
        return "must be a list, in brackets and with commas"
    if kind == "dict_type":
        return "must be a block of keys and values, such as {name: value}"
    said = detail["msg"].replace("Input should be", "must be").split(", unable to parse")[0]
    said = said.replace("String should match pattern", "must match the pattern")
    return said[0].lower() + said[1:]


def _known(place: KeyPath, root: type[ConfigBlock], values: Any) -> str:
    """Suggests a key for an unknown one: of its block, or of the same name in another one.

    Others are blocks of the scenario, and components that could be chosen instead of this one.
    """
    section = section_at(root, place[:-1], values)
    siblings = list(section.model_fields) if section else []
    word = str(place[-1])
    if not difflib.get_close_matches(word, siblings, n=1):
        elsewhere = [".".join(map(str, key)) for key in keys(root, values) if key[-1] == word]
        if elsewhere:
            return f"did you mean '{elsewhere[0]}'?"
        owners = _components_with(word, section)
        if owners:
            return f"{nearest(word, siblings)}; '{word}' is a key of {', '.join(owners)}"
    return nearest(word, siblings)


def _components_with(key: str, section: type[ConfigBlock] | None) -> list[str]:
    """Names of the components of the same group that have a key."""
    if section is None or not issubclass(section, Component):
        return []
    found = []
    for name in registry.names(section.group):
        try:
            block = section.block_of(registry.resolve(section.group, name))
        except (InputError, ValueError):
            continue
        if key in getattr(block, "model_fields", ()):
            found.append(name)
    return found
