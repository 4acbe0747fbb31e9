"""The samples of several arrays as one pool, in which large files stay mapped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedlab.data import mapped
from fedlab.data.mapped import MappedFile, file_of

PIECE = 2**26
"""Bytes that are read at once where something is computed of all samples."""


class Part(NamedTuple):
    """Samples of one array.

    Attributes:
        stored: The file that they are in, or an array in memory.
        kept: Its rows that are in the pool, int64 of shape (n,); None for all.
    """

    stored: MappedFile | np.ndarray
    kept: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.stored.shape[0] if self.kept is None else len(self.kept)


class MappedPool:
    """Samples of several arrays, one after the other, read on access.

    It is read like an array, along its first axis alone: ``pool[3]``, ``pool[2:8]``,
    ``pool[rows]`` and ``pool[mask]`` are arrays in memory. What is pickled of a file is its name.

    Args:
        parts: The samples of each array; all samples are of one shape.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.dtype = np.result_type(*(part.stored.dtype for part in parts))
        """The type of all numbers, as `numpy.concatenate` chooses it."""
        self.ends = np.cumsum([part.size for part in parts])
        """Index of the sample after the last one of each part, int64 of shape (parts,)."""
        self._open: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getstate__(self) -> tuple[Part, ...]:
        """The pickled state: files by their names."""
        return self.parts

    def __setstate__(self, parts: tuple[Part, ...]) -> None:
        """Restores the pickled state; files are opened when they are read."""
        self.__init__(parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples, and the shape of one."""
        return (len(self), *self.parts[0].stored.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that an array of all samples would have."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self) -> None:
        """Checks that the files have not changed.

        Raises:
            LostDataError: If one is gone, or another one.
        """
        for part in self.parts:
            if isinstance(part.stored, MappedFile):
                part.stored.check()

    def __getitem__(self, index: Any) -> np.ndarray:
        """Samples in memory: one, or those at a slice, at indices or where a mask is true.

        Raises:
            LostDataError: If a file is gone, or not what it was when the run began.
            IndexError: If there is no such sample.
        """
        if isinstance(index, slice):
            return self._read(np.arange(*index.indices(len(self))))
        asked = np.asarray(index)
        if asked.dtype == np.bool_:
            if asked.shape != (len(self),):
                raise IndexError(f"a mask of shape {asked.shape} for {len(self)} samples")
            return self._read(np.flatnonzero(asked))
        rows = np.where(asked < 0, asked + len(self), asked).astype(np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"index out of range for {len(self)} samples")
        found = self._read(rows.reshape(-1))
        return found.reshape(*rows.shape, *found.shape[1:])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """The samples at indices of shape (n,), each part's in one go."""
        places = np.searchsorted(self.ends, rows, side="right")
        occurring = np.unique(places).tolist()
        if len(occurring) == 1:  # as of most clients: read once, and not copied again
            return self._read_part(occurring[0], rows).astype(self.dtype, copy=False)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place in occurring:
            there = places == place
            found[there] = self._read_part(place, rows[there])
        return found

    def _read_part(self, place: int, rows: np.ndarray) -> np.ndarray:
        """The samples of a part, by their indices in the pool."""
        part = self.parts[place]
        rows = rows - (int(self.ends[place]) - part.size)
        rows = rows if part.kept is None else part.kept[rows]
        if isinstance(part.stored, np.ndarray):
            return part.stored[rows]
        array = self._open.get(place)
        if array is None:
            array = self._open[place] = part.stored.opened()
        part.stored.check()  # reading a page that was cut off would end the process
        found = array[rows]
        part.stored.check()
        return found


Inputs = np.ndarray | MappedPool
"""What samples are in: one array in memory, or a pool of which files are a part."""


def pooled(arrays: Sequence[np.ndarray], kept: Sequence[np.ndarray | None]) -> Inputs:
    """Arrays concatenated.

    Args:
        arrays: Of one shape apart from the first axis.
        kept: Of each the rows to take, in order; None for all.

    Returns:
        One array in memory; where one of them is mapped from a file and they are large together, a
        pool that copies none of them.
    """
    files = [file_of(array) for array in arrays]
    parts = [
        Part(array if file is None else file, rows)
        for array, file, rows in zip(arrays, files, kept, strict=True)
    ]
    pool = MappedPool(parts)
    if pool.nbytes >= mapped.SMALLEST and any(file is not None for file in files):
        return pool
    return np.concatenate(
        [array if rows is None else array[rows] for array, rows in zip(arrays, kept, strict=True)]
    )


def pieces(inputs: Inputs, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Samples in their order, in pieces of at most `PIECE` bytes (at least one sample).

    Args:
        inputs: The samples.
        rows: Indices of those to take, int64; all by default.
    """
    number = len(inputs) if rows is None else len(rows)
    length = max(1, PIECE * len(inputs) // max(1, inputs.nbytes))
    for start in range(0, max(1, number), length):
        piece = slice(start, start + length)
        yield inputs[piece] if rows is None else inputs[rows[piece]]
