"""The shape of one sample, with the vocabulary where samples are ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from fedlab.data.ids import Ids


class SampleShape(tuple[int, ...]):
    """A shape, equal to the tuple of its numbers.

    Attributes:
        ids: The vocabulary of samples that are ids, of shape (length,); None for images and
            numbers: (channels, height, width), (features,), (channels, length), (channels, depth,
            height, width).
    """

    ids: Ids | None

    def __new__(cls, shape: Iterable[int], ids: Ids | None = None) -> Self:
        """A shape like a tuple, with the vocabulary of ids."""
        made = super().__new__(cls, shape)
        made.ids = ids
        return made

    def __getnewargs__(self) -> tuple[tuple[int, ...], Ids | None]:
        return tuple(self), self.ids


def ids_in(shape: tuple[int, ...]) -> Ids | None:
    """The vocabulary of samples that are ids, or None."""
    return shape.ids if isinstance(shape, SampleShape) else None
