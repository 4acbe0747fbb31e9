"""Renamed attributes and module members; old names work for one minor version, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


class OldName:
    """Descriptor of a renamed attribute under its old name; reading it warns.

    Args:
        owner: The class that defines it, so that ``super().old()`` reaches that class's own.
        old: The old name.
        new: The new name.
    """

    def __init__(self, owner: type, old: str, new: str) -> None:
        self.owner, self.old, self.new = owner, old, new

    def __get__(self, instance: Any, cls: type) -> Any:
        warn(f"{self.owner.__qualname__}.{self.old}", self.new, frames=3)
        value = vars(self.owner)[self.new]
        return value.__get__(instance, cls) if hasattr(value, "__get__") else value


def honour_old_names(cls: type, renamed: Mapping[str, str]) -> None:
    """Lets a class be read, and written, with old names of its attributes.

    A subclass that still overrides an old name overrides the new one.

    Args:
        cls: A class; to be called for each subclass, too.
        renamed: Old name -> new name.
    """
    for old, new in renamed.items():
        own = vars(cls)
        if old in own and not isinstance(own[old], OldName):
            warn(f"{cls.__qualname__}.{old}", new, frames=5)
            setattr(cls, new, own[old])
        if new in vars(cls):
            setattr(cls, old, OldName(cls, old, new))


def old_names(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module with renamed members.

    Args:
        module: Its name.
        renamed: Old name -> new name in the same module.
    """

    def get(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        warn(f"{module}.{name}", renamed[name], frames=3)
        return getattr(sys.modules[module], renamed[name])

    return get


def warn(old: str, new: str, frames: int) -> None:
    """Says that a name has become another one, at the line so many frames up that has it."""
    warnings.warn(
        f"{old} is now {new}; the old name goes in fedlab 0.3",
        DeprecationWarning,
        stacklevel=frames,
    )
