"""Detects methods of a user's class whose names are misspellings of fedlab's hooks.

Such a method would never be called, and the class would silently behave like its base: plain
FedAvg. It is refused instead of warned about, as the run's result would be another than intended.
Accepted are helpers that the class or its module uses, names with a leading underscore, and
variants of a hook that the class overrides as well.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator
from dis import get_instructions
from types import CodeType
from typing import Any

from fedlab.config.signatures import is_ours
from fedlab.errors import InputError

ALIKE = 0.8
"""Similarity (`difflib`) above which a name is taken for a misspelling: ``begins`` and ``begin``,
``finsh`` and ``finish``, not ``mixed`` and ``mean``."""


def refuse_misspelt_hooks(cls: type, where: str) -> None:
    """Refuses a class with an attribute that looks like a misspelt hook and is used nowhere.

    Args:
        cls: A subclass of one of fedlab's classes.
        where: The key and the name of the class in the scenario, for the error.

    Raises:
        InputError: With the intended hook.
    """
    known = {name: owner for owner in cls.__mro__ if is_ours(owner) for name in _public(owner)}
    own = {
        name: vars(owner)[name]
        for owner in cls.__mro__
        if owner is not object and not is_ours(owner) and _is_beside(owner, cls)
        for name in _public(owner)
    }
    strange = [name for name in own if name not in known]
    for name in strange:
        near = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
        if near and near[0] not in own and name not in _used(cls, besides=own[name]):
            meant = getattr(vars(known[near[0]]).get(near[0]), "new", near[0])
            raise InputError(
                f"{where}: {cls.__qualname__}.{name} overrides nothing, and nothing here uses it; "
                f"call it '{meant}' if that is meant, or '_{name}' if it is a helper"
            )


def refuse_without_hooks(cls: type, where: str) -> None:
    """Refuses a class that adds methods, none of which is called and none of which is a hook.

    It would behave like its base class, which can't be what its author means.

    Args:
        cls: A subclass of one of fedlab's classes.
        where: The key and the name of the class in the scenario, for the error.

    Raises:
        InputError: With the hooks that there are.
    """
    own = [each for each in cls.__mro__ if each is not object and not is_ours(each)]
    own = [each for each in own if each.__module__ == cls.__module__]
    known = {name for each in cls.__mro__ if is_ours(each) for name in vars(each)}
    written = [name for each in own for name in vars(each)]
    methods = [n for each in own for n in _public(each) if inspect.isfunction(vars(each)[n])]
    special = {"__module__", "__doc__", "__qualname__", "__parameters__", "__orig_bases__"}
    changes = {name for name in written if name in known} - special
    idle = [n for n in methods if n not in _used(cls, besides=getattr(cls, n))]
    if methods and not changes and idle == methods:
        base = next(each for each in cls.__mro__ if is_ours(each))
        hooks = [n for n in _public(base) if inspect.isfunction(vars(base)[n])]
        raise InputError(
            f"{where}: {cls.__qualname__} overrides nothing of {base.__qualname__}, and nothing "
            f"calls its {', '.join(methods)}; hooks are {', '.join(hooks)}"
        )


def _is_beside(owner: type, cls: type) -> bool:
    """Whether a base belongs to the same package as a class."""
    return owner.__module__.split(".")[0] == cls.__module__.split(".")[0]


def _public(cls: type) -> Iterator[str]:
    return (name for name in vars(cls) if not name.startswith("_"))


def _used(cls: type, besides: Any) -> set[str]:
    """Names used in a class's code or its module; in other classes, without attributes of self."""
    module = vars(sys.modules.get(cls.__module__, object))
    beside = [each for each in module.values() if _module_of(each) == cls.__module__]
    own = [value for each in cls.__mro__ if not is_ours(each) for value in vars(each).values()]
    others = {each for each in beside if inspect.isclass(each)}.difference(cls.__mro__)
    found = {name for value in [*beside, *own] if value is not besides for name in _read(value)}
    return found | {
        name
        for each in others
        for value in vars(each).values()
        for name in _read(value, of_self=False)
    }


def _module_of(value: Any) -> Any:
    return getattr(value, "__module__", None)


def _code(value: Any) -> CodeType | None:
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", getattr(value, "func", value))
    return getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None


def _read(value: Any, *, of_self: bool = True) -> Iterator[str]:
    """Names that code looks up, and its strings, which may be arguments of `getattr`."""
    code = value if isinstance(value, CodeType) else _code(value)
    before = ""
    for each in get_instructions(code) if code else ():
        if isinstance(each.argval, CodeType):
            yield from _read(each.argval, of_self=of_self)
        elif (
            each.opname.startswith("LOAD")
            and isinstance(each.argval, str)
            and (of_self or before != "self")
        ):
            yield each.argval
        before = each.argval
