"""Finds the class that reads a block of a scenario, from the block's place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from fedlab.config import registry
from fedlab.config.component import Component, ConfigBlock
from fedlab.config.yaml_text import KeyPath
from fedlab.errors import InputError


def section_in(annotation: Any) -> type[ConfigBlock] | None:
    """The block class inside an annotation such as ``tuple[Chosen[Source], ...]``, if any."""
    if isinstance(annotation, type) and issubclass(annotation, ConfigBlock):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def chosen(section: type[ConfigBlock], value: Any) -> type[ConfigBlock]:
    """The class that reads `value`: `section` itself, or the component named by the value."""
    name = value.get("name") if isinstance(value, dict) else value
    if not issubclass(section, Component) or not isinstance(name, str):
        return section
    try:
        return section.block_of(registry.resolve(section.group, name))
    except (InputError, ValueError):
        return section  # validation reports the wrong name


def section_at(root: type[ConfigBlock], place: KeyPath, values: Any) -> type[ConfigBlock] | None:
    """The class that reads the block at `place`; None where there is no block.

    Args:
        root: Class of the whole.
        place: The keys and list indices that lead to the block.
        values: The user's values of the whole scenario, with the chosen components.
    """
    section: type[ConfigBlock] | None = chosen(root, values)
    for key in place:
        values = child(values, key)
        if isinstance(key, int):  # an item of a list: the list's own annotation named its class
            section = section and chosen(section, values)
            continue
        if section is None or key not in section.model_fields:
            return None
        field = section.model_fields[key]
        section = section_in(field.annotation)
        if section:
            section = chosen(section, field.default if values is None else values)
    return section


def child(values: Any, key: str | int) -> Any:
    """The value of a key or index, or None."""
    if isinstance(values, dict):
        return values.get(key)
    if isinstance(values, list | tuple) and isinstance(key, int) and key < len(values):
        return values[key]
    return None


def written_out(section: type[ConfigBlock], value: Any) -> dict[str, Any]:
    """A block given as a short form or a default, as a mapping that can be changed.

    Of a block that is no component, only the keys that were set: for the others there may be a
    better default, such as the target's for a loss.
    """
    if isinstance(value, BaseModel):
        is_component = isinstance(value, Component)
        return value.model_dump(include=None if is_component else value.model_fields_set)
    is_named = issubclass(section, Component) and isinstance(value, str | type)
    return {"name": value} if is_named else {}


def keys(section: type[ConfigBlock], values: Any, prefix: KeyPath = ()) -> Iterator[KeyPath]:
    """All keys that a block may hold, those of its inner blocks included (lists left out)."""
    for name, field in chosen(section, values).model_fields.items():
        yield (*prefix, name)
        inner = section_in(field.annotation)
        value = child(values, name)
        if inner and not isinstance(value, list | tuple):
            yield from keys(inner, field.default if value is None else value, (*prefix, name))
