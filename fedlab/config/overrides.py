"""Overrides of a scenario from the command line or from Python: ``strategy.name=fedbn seed=3``."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedlab.config import registry, yaml_text
from fedlab.config.builtin_scenarios import shipped_scenarios
from fedlab.config.component import Component, ConfigBlock
from fedlab.config.schema import child, section_at, written_out
from fedlab.config.yaml_text import KeyPath
from fedlab.errors import InputError

log = logging.getLogger("fedlab")


def parse(overrides: Sequence[str] | Mapping[str, Any]) -> dict[KeyPath, Any]:
    """The place and value of every change.

    Args:
        overrides: ``a.b=value`` texts with YAML values, or a mapping with dotted or nested keys.

    Raises:
        InputError: If a text is not of that form.
    """
    pairs: list[tuple[KeyPath, Any]] = []
    if isinstance(overrides, Mapping):
        pairs = list(_leaves((), dict(overrides)))
    else:
        for text in [overrides] if isinstance(overrides, str) else overrides:
            key, equals, written = text.partition("=")
            if not equals or not all(part.strip() for part in key.split(".")):
                raise InputError(f"override '{text}': is not of the form key=value; {_form(text)}")
            where = f"override '{text}'"
            value = yaml_text.read(written, where, numbered=False)[0] if written.strip() else ""
            pairs.extend(_leaves(_place(key), value))
    return dict(pairs)


def _form(text: str) -> str:
    """What to write instead of a word that is no change."""
    if text in shipped_scenarios() or text.endswith((".yaml", ".yml")):
        return "a scenario is there already; several are compared by `fedlab compare`"
    if text in registry.names("strategies"):
        return f"write strategy={text}"
    return "write for example strategy.name=fedbn"


def apply(
    root: type[ConfigBlock], values: dict[str, Any], changes: dict[KeyPath, Any]
) -> dict[str, Any]:
    """A changed copy of `values`.

    A block with a ``name`` replaces the old one: missing keys have their defaults. A block without
    a name changes the given keys. If only the ``name`` of a component changes, its old parameters
    are dropped. Of mutually exclusive keys (`ConfigBlock.either`), the changed one stays.

    Args:
        root: Class of the whole scenario, with its components and defaults.
        values: The scenario as it was written.
        changes: From `parse`.

    Raises:
        InputError: If a place leads through a value that is not a block, or past a list's end; or
            if two changes are of mutually exclusive keys.
    """
    values = copy.deepcopy(values)
    # `strategy=fedprox` and `strategy.name=fedprox` are applied before `strategy.mu=1`, in any
    # order of writing: parameters belong to the strategy that is finally chosen.
    for place in sorted(changes, key=lambda place: len(place) - (place[-1] == "name")):
        value = changes[place]
        *way, last = place
        block: Any = values
        for depth, key in enumerate(way):
            block = _open(root, values, block, tuple(way[:depth]), key)
        if isinstance(block, list):
            _check_index(block, tuple(way), last)
        elif not isinstance(block, dict):
            raise InputError(
                f"override '{_dotted(place)}': {_dotted(tuple(way))} is a value and has no keys; "
                f"set it as a whole with {_dotted(tuple(way))}=..."
            )
        elif last == "name" and way and block.get("name") != value:
            section = section_at(root, tuple(way), values)
            if section and issubclass(section, Component):
                block.clear()
        _put(block, _name_now(root, values, tuple(way), last), value)
    for place, value in changes.items():
        if value is not None:
            _drop_others(root, values, place, changes)
    return values


def _drop_others(
    root: type[ConfigBlock], values: Any, place: KeyPath, changes: Mapping[KeyPath, Any]
) -> None:
    """Drops the keys that a change replaces (`ConfigBlock.either`), with a warning."""
    *way, last = place
    section = section_at(root, tuple(way), values)
    if section is None or last not in section.either:
        return
    block: Any = values
    for key in way:
        block = child(block, key)
    for other in section.either:
        if other == last or not isinstance(block, dict):
            continue
        beside = (*way, other)
        if changes.get(beside) is not None:
            raise InputError(
                f"override '{_dotted(place)}={changes[place]}': "
                f"'{_dotted(beside)}={changes[beside]}' says something else; give one of them"
            )
        said = block.pop(other, None)
        if said not in (None, section.model_fields[other].default):
            log.warning(
                "override '%s=%s' takes the place of the scenario's %s=%s",
                _dotted(place),
                changes[place],
                other,
                said,
            )


def _open(root: type[ConfigBlock], values: Any, block: Any, way: KeyPath, key: str | int) -> Any:
    """Steps into `key` of `block`; a short form or a default becomes a block."""
    if isinstance(block, list):
        _check_index(block, way, key)
    elif not isinstance(block, dict):
        return block
    section = section_at(root, (*way, key), values)
    inner = child(block, key)
    around = section_at(root, way, values) if inner is None else None
    field = around.model_fields.get(str(key)) if around else None
    if field and not field.is_required():
        inner = field.get_default(call_default_factory=True)
    if isinstance(inner, tuple):
        inner = list(inner)
    elif section and not isinstance(inner, dict | list):
        inner = written_out(section, inner)
    elif inner is None:
        inner = {}
    _put(block, key, inner)
    return inner


def _name_now(root: type[ConfigBlock], values: Any, way: KeyPath, key: str | int) -> str | int:
    """The current name of a key that may be given by its old one."""
    section = section_at(root, way, values)
    return section.renamed.get(str(key), key) if section else key


def _put(block: Any, key: str | int, value: Any) -> None:
    block[key] = value


def _check_index(block: list[Any], way: KeyPath, key: str | int) -> None:
    if not isinstance(key, int) or key >= len(block):
        raise InputError(
            f"override '{_dotted((*way, key))}': {_dotted(way)} is a list of {len(block)}; "
            f"name an item of it by a number from 0 to {len(block) - 1}"
        )


def _leaves(place: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """The changes of a value: one for each key, or one for a block with a name."""
    is_whole = bool(place) and isinstance(value, Mapping) and "name" in value
    if is_whole:
        yield place, _nested(value)
    elif isinstance(value, Mapping) and (value or not place):
        for key, inner in value.items():
            yield from _leaves((*place, *_place(str(key))), inner)
    else:
        yield place, value


def _nested(value: Any) -> Any:
    """A mapping whose dotted keys are converted to nested blocks."""
    if not isinstance(value, Mapping):
        return value
    block: dict[str, Any] = {}
    for key, inner in value.items():
        *way, last = str(key).split(".") if isinstance(key, str) and "." in key else [key]
        target = block
        for part in way:
            target = target.setdefault(part, {})
        target[last] = _nested(inner)
    return block


def _place(key: str) -> KeyPath:
    return tuple(int(part) if part.isdecimal() else part for part in map(str.strip, key.split(".")))


def _dotted(place: KeyPath) -> str:
    return ".".join(map(str, place))
