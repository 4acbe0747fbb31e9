"""The values of a scenario's block that differ from the defaults."""

from __future__ import annotations

from typing import Any

from fedlab.config.component import Component, ConfigBlock


def chosen(block: ConfigBlock) -> dict[str, Any]:
    """The keys with other values than the defaults, without a component's ``name``.

    Returns:
        Values in the form of YAML: an inner block is a mapping of its chosen keys, a component its
        name alone, or a mapping with its name and its chosen keys.
    """
    found = {}
    for key, field in type(block).model_fields.items():
        if key == "name" and isinstance(block, Component):
            continue
        value = getattr(block, key)
        written = as_written(value)
        if field.is_required() or written != as_written(
            field.get_default(call_default_factory=True)
        ):
            found[key] = written
    return found | (block.model_extra or {})


def as_written(value: Any) -> Any:
    """A value in its shortest form in a scenario."""
    if isinstance(value, tuple | list):
        return [as_written(each) for each in value]
    if isinstance(value, dict):
        return {key: as_written(each) for key, each in value.items()}
    if not isinstance(value, ConfigBlock):
        return value
    inner = chosen(value)
    if isinstance(value, Component):
        return {"name": value.name, **inner} if inner else value.name
    return inner
