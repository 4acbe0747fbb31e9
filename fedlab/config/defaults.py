"""What of a block of a scenario was chosen, and what is as it is by default."""

from __future__ import annotations

from typing import Any

from fedlab.config.component import Component, ConfigBlock


def chosen(block: ConfigBlock) -> dict[str, Any]:
    """The keys whose values are not the default ones, but for a component's ``name``.

    Returns:
        Values as one writes them: a block inside is a mapping of what was chosen there, a
        component its name alone, or a mapping of its name and of what was chosen.
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
    """A value in the shortest form that stands for it in a scenario."""
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
