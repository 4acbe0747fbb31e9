"""Checks that methods overridden by a user's class have compatible signatures."""

from __future__ import annotations

import inspect
from typing import Any

from fedlab.errors import InputError


def refuse_other_signatures(cls: type, where: str) -> None:
    """Refuses a class that overrides a method of fedlab with other arguments.

    Otherwise it would fail within a round, far from the wrong line.

    Args:
        cls: A subclass of one of fedlab's classes.
        where: The key and the name of the class in the scenario, for the error.

    Raises:
        InputError: With its arguments, and the required ones.
    """
    if is_ours(cls):
        return
    for base in cls.__mro__[1:]:
        if not is_ours(base):
            continue
        for name, given in vars(base).items():
            own = inspect.getattr_static(cls, name)
            both = inspect.isfunction(given) and inspect.isfunction(own)
            if both and not is_ours(own) and not _accepts(own, given):
                raise InputError(
                    f"{where}: {own.__qualname__} takes {_arguments(own)} but is given "
                    f"{_arguments(given)}; write it with these"
                )


def is_ours(defined: Any) -> bool:
    """Whether a class or a function belongs to fedlab."""
    return defined.__module__.split(".")[0] == "fedlab"


def _accepts(own: Any, given: Any) -> bool:
    """Whether a method can be called with the arguments of another one."""
    parameters = inspect.signature(given).parameters.values()
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return True
    by_name = {each.name: None for each in parameters if each.kind is each.KEYWORD_ONLY}
    by_place = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    needed = [each for each in by_place if each.default is each.empty]
    try:
        for places in (needed, by_place):
            inspect.signature(own).bind(*places, **by_name)
    except TypeError:
        return False
    return True


def _arguments(method: Any) -> str:
    names = [name for name in inspect.signature(method).parameters if name != "self"]
    return f"({', '.join(names)})"
