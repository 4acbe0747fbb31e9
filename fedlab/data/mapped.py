"""Memory-mapped arrays: every process maps the file, and the machine caches one copy.

A pickled array would be copied into every message and into Ray's object store; of a mapped one only
the file's name travels. What a process reads of it are the rows of a batch.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fedlab.errors import LostDataError

SMALLEST = 2**28
"""Bytes from which an array stays in its file; smaller ones are read, and need the file no more."""


class MappedFile(NamedTuple):
    """The file of a mapped array, with its size and time at mapping.

    Attributes:
        path: The file.
        size: Its bytes.
        changed: When it was last changed, in nanoseconds.
        offset: Bytes before the array.
        shape: Shape of the array.
        dtype: Type of its numbers.
        order: How they lie, ``C`` or ``F``.
    """

    path: Path
    size: int
    changed: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]

    def opened(self) -> np.ndarray:
        """The array, mapped read-only.

        Raises:
            LostDataError: If the file is gone, or not what it was.
        """
        self.check()
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)

    def check(self) -> None:
        """Checks that the file has not changed.

        Raises:
            LostDataError: If it is gone, or another one.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise LostDataError(
                f"'{self.path}' has vanished under the run ({error.strerror}), whose samples are "
                "in it; put it back and resume the run"
            ) from error
        if (found.st_size, found.st_mtime_ns) != (self.size, self.changed):
            raise LostDataError(
                f"'{self.path}' has changed under the run, whose samples are in it; put it back as "
                "it was and resume the run, or start another"
            )


def file_of(array: np.ndarray) -> MappedFile | None:
    """The file of a mapped array; None for slices, and for writable arrays."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):
        return None
    if array.mode != "r":
        return None  # what was written to a copy is not in the file
    path = Path(str(array.filename))
    try:
        found = path.stat()
    except OSError:
        return None  # its pages are still there, and travel as they are
    order = "C" if array.flags.c_contiguous else "F"
    place = (array.offset, array.shape, array.dtype, order)
    return MappedFile(path, found.st_size, found.st_mtime_ns, *place)
