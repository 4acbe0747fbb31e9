"""Arrays that stay in their files: every process maps them, and the machine caches one copy.

A pickled array would be copied into every message and into Ray's object store; of a mapped one only
the file's name travels. What a process reads of it are the rows of a batch.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedlab.errors import InputError

SMALLEST = 2**28
"""Bytes from which an array stays in its file; smaller ones are read, and need the file no more."""


class MappedFile(NamedTuple):
    """A whole ``.npy`` file that an array is mapped from, as it was then.

    Attributes:
        path: The file.
        size: Its bytes.
        changed: When it was last changed, in nanoseconds.
    """

    path: Path
    size: int
    changed: int

    def opened(self) -> np.ndarray:
        """The array, mapped read-only.

        Raises:
            InputError: If the file is gone, or not what it was.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise InputError(
                f"'{self.path}' has vanished under the run ({error.strerror}), whose samples are "
                "in it; put it back and resume the run"
            ) from error
        if (found.st_size, found.st_mtime_ns) != (self.size, self.changed):
            raise InputError(
                f"'{self.path}' has changed under the run, whose samples are in it; put it back as "
                "it was and resume the run, or start another"
            )
        return np.load(self.path, mmap_mode="r")


def file_of(array: np.ndarray) -> MappedFile | None:
    """The file that an array is the whole of; None of arrays in memory, and of parts."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):
        return None
    path = Path(str(array.filename))
    try:
        found = path.stat()
    except OSError:
        return None  # its pages are still there, and travel as they are
    return MappedFile(path, found.st_size, found.st_mtime_ns)


def pooled(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays one after the other: a single large one that is mapped stays in its file."""
    if len(arrays) == 1 and arrays[0].nbytes >= SMALLEST and file_of(arrays[0]) is not None:
        return arrays[0]
    return np.concatenate(arrays)
