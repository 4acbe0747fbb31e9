"""Methods that stand in front of any other method."""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

T = TypeVar("T")


@cache
def wrap_class(front: type[T], base: type) -> type[T]:
    """A class that is `front` and, wherever that says nothing itself, `base`.

    Args:
        front: Adds to a base; a subclass of the class that `base` is a subclass of.
        base: Whatever is to be added to.
    """
    return cast("type[T]", type(f"{front.__name__}Over{base.__name__}", (front, base), {}))
