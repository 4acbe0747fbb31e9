"""Classes of methods that extend any other method."""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

T = TypeVar("T")


@cache
def wrap_class(front: type[T], base: type) -> type[T]:
    """A subclass of `front` and `base`, in this order of method resolution.

    Args:
        front: The extension; it shares a base class with `base`.
        base: The class to extend.
    """
    return cast("type[T]", type(f"{front.__name__}Over{base.__name__}", (front, base), {}))
