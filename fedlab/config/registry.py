"""Maps names in a scenario to classes, without importing unused modules.

A name is looked up in three places, in this order: fedlab's own table, the entry points of
installed packages (group ``fedlab.<group>``), and, if it has the form ``package.module:Class``, the
Python path. Custom methods, models and data sources are resolved in the same way as fedlab's own.

Classes that other processes cannot import, as a notebook or a function defines them, are sent to
these processes by value (`session_classes`, `register_classes`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from fedlab.config.builtin_names import BUILTIN
from fedlab.errors import InputError, format_error

OTHER_SPELLINGS = {"centralized": "centralised"}
"""Other spelling of a name -> its registered name."""

_SESSION_CLASSES: dict[str, Any] = {}
"""Classes that other processes may be unable to import, by path."""


@cache
def _installed(group: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=f"fedlab.{group}")}


def names(group: str) -> list[str]:
    """All names of a group: fedlab's own first, then those of installed packages."""
    return list(BUILTIN[group]) + [name for name in _installed(group) if name not in BUILTIN[group]]


def path_of(group: str, name: str) -> str:
    """The import path of a named class, ``package.module:Class``; nothing is imported.

    Args:
        group: A key of `BUILTIN`, e.g. ``"strategies"``.
        name: A registered name or ``package.module:Class``.

    Raises:
        InputError: If there is no such name; suggests the nearest one.
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
    """The class of a name (see `path_of`).

    Raises:
        InputError: If there is no such name or its module cannot be imported.
    """
    path = path_of(group, name)
    try:
        return _class_at(path)
    except Exception as error:  # a user's module may raise anything
        source = f" from '{path}'" if path != name else ""
        reason = (
            str(error) if isinstance(error, ImportError | AttributeError) else format_error(error)
        )
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
    """The name of a class in a scenario; an unregistered class becomes a session class.

    Args:
        group: A key of `BUILTIN`.
        target: Any class of that group, wherever it is defined.
    """
    registered = registered_name(group, target)
    if registered is None:
        registered = f"{target.__module__}:{target.__qualname__}"
        _SESSION_CLASSES[registered] = target
    return registered


def registered_name(group: str, target: type) -> str | None:
    """The registered name of a class, if it has one."""
    path = f"{target.__module__}:{target.__qualname__}"
    return next((name for name in names(group) if path_of(group, name) == path), None)


def session_classes() -> dict[str, Any]:
    """The classes to send to other processes, by path."""
    return dict(_SESSION_CLASSES)


def register_classes(classes: Mapping[str, Any]) -> None:
    """Registers the session classes of another process."""
    _SESSION_CLASSES.update(classes)


def _class_at(path: str) -> Any:
    """The class at a path; a session class if it cannot be imported."""
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        if path not in _SESSION_CLASSES:
            raise
        return _SESSION_CLASSES[path]
    if module == "__main__":
        _SESSION_CLASSES[path] = found
    return found


def _singular(group: str) -> str:
    words = group.replace("_", " ")
    if words.endswith("ies"):
        return words[:-3] + "y"
    return words.removesuffix("es") if words.endswith("sses") else words.removesuffix("s")
