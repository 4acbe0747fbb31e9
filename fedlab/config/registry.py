"""Names in a scenario -> classes, without importing what is not used.

A name is looked up in three places, in this order: fedlab's own table below, the entry points of
installed packages (group ``fedlab.<group>``), and, if it has the form ``package.module:Class``, the
Python path. A user's own method, model or data source thus comes in by the same door as ours.

A class that no other process can import, because a notebook or a function defines it, is lent: it
travels by value to the processes that need it (`session_classes`, `register_classes`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from fedlab.config.builtin_names import BUILTIN
from fedlab.errors import InputError, told

OTHER_SPELLINGS = {"centralized": "centralised"}
"""Names as others spell them -> as they stand in the tables."""

_LENT: dict[str, Any] = {}
"""Classes that others may not be able to import, by path."""


@cache
def _installed(group: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=f"fedlab.{group}")}


def names(group: str) -> list[str]:
    """All names of a group: fedlab's own first, then those of installed packages."""
    return list(BUILTIN[group]) + [name for name in _installed(group) if name not in BUILTIN[group]]


def path_of(group: str, name: str) -> str:
    """Where the class behind a name is: ``package.module:Class``; nothing is imported.

    Args:
        group: A key of `BUILTIN`, e.g. ``"strategies"``.
        name: A registered name or ``package.module:Class``.

    Raises:
        InputError: If there is no such name; the nearest one is offered.
    """
    if group == "strategies" and name.startswith("flwr:"):
        return "fedlab.strategies.flower:Flower"
    if name in BUILTIN[group]:
        return BUILTIN[group][name]
    if name in _installed(group):
        return _installed(group)[name].value
    module, colon, attribute = name.partition(":")
    if colon and not module.endswith(".py"):
        return name
    if "." in name:
        if not colon:
            module, _, attribute = name.rpartition(".")
        path = module.removesuffix(".py").replace("/", ".")
        raise InputError(
            f"there is no {_singular(group)} '{name}'; a class of your own is named "
            f"module:Class, so '{path}:{attribute}'"
        )
    near = difflib.get_close_matches(name, names(group), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names(group))}"
    raise InputError(f"there is no {_singular(group)} '{name}'; {hint}")


def resolve(group: str, name: str) -> Any:
    """The class behind a name (see `path_of`).

    Raises:
        InputError: If there is no such name or its module cannot be imported.
    """
    path = path_of(group, name)
    try:
        return _class_at(path)
    except Exception as error:  # a user's module may raise anything
        source = f" from '{path}'" if path != name else ""
        reason = str(error) if isinstance(error, ImportError | AttributeError) else told(error)
        if path.startswith("__main__:") or "<locals>" in path:
            raise InputError(
                f"the {_singular(group)} '{name}' was defined in a notebook or a script, and is "
                "not known here; define it again and go on from there in Python, or put it into "
                "a module and name it module:Class"
            ) from error
        raise InputError(
            f"the {_singular(group)} '{name}' cannot be imported{source}: {reason}; mend the "
            "module, or the path, which starts in the current folder or an installed package"
        ) from error


def name_of(group: str, target: type) -> str:
    """The name that stands for a class in a scenario; the class is lent from now on.

    Args:
        group: A key of `BUILTIN`.
        target: Any class of that group, wherever it is defined.
    """
    registered = registered_name(group, target)
    if registered is None:
        registered = f"{target.__module__}:{target.__qualname__}"
        _LENT[registered] = target
    return registered


def registered_name(group: str, target: type) -> str | None:
    """The registered name of a class, if it has one."""
    path = f"{target.__module__}:{target.__qualname__}"
    return next((name for name in names(group) if path_of(group, name) == path), None)


def session_classes() -> dict[str, Any]:
    """The classes that another process must be given, by path."""
    return dict(_LENT)


def register_classes(classes: Mapping[str, Any]) -> None:
    """Takes over what another process lends."""
    _LENT.update(classes)


def _class_at(path: str) -> Any:
    """The class at a path; one that is lent stands in where nothing can be imported."""
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        if path not in _LENT:
            raise
        return _LENT[path]
    if module == "__main__":
        _LENT[path] = found
    return found


def _singular(group: str) -> str:
    words = group.replace("_", " ")
    if words.endswith("ies"):
        return words[:-3] + "y"
    return words.removesuffix("es") if words.endswith("sses") else words.removesuffix("s")
