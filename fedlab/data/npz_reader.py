"""A reader of ``.npz`` files that checks the size of each array before unpacking it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from fedlab.data.limits import Limits
from fedlab.data.object_array import read_objects
from fedlab.errors import InputError

LONGEST_HEADER = 10_000
CHUNK = 2**24


class Archive:
    """An opened ``.npz`` file.

    Attributes:
        names: The arrays in it.
    """

    def __init__(self, path: Path, where: str, limits: Limits) -> None:
        """Opens the file.

        Args:
            path: The file.
            where: Its key in the scenario.
            limits: What it may have.

        Raises:
            InputError: If it is missing or no archive.
        """
        self.where, self.limits = f"{where}: '{path}'", limits
        limits.check_file(path, self.where)
        with self._as_input_error():
            self._zip = zipfile.ZipFile(path)
        self.names = [
            name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")
        ]

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __getitem__(self, name: str) -> np.ndarray:
        """Reads an array.

        Raises:
            InputError: If it is larger than is allowed, damaged, or holds Python objects.
        """
        return self._array(
            name,
            "sequences of different lengths are read as ids, with data.inputs=ids and data.ids.pad",
        )

    def text(self, name: str) -> np.ndarray:
        """Reads an array of labels or owners, numbers or text.

        Raises:
            InputError: As for any array.
        """
        return self._array(
            name,
            "these are pickled, and a pickle may run any code when it is read, so that it is not; "
            f"save {name}.astype(str), or whole numbers",
        )

    def _array(self, name: str, remedy: str) -> np.ndarray:
        """An array; `remedy` is said where it holds Python objects."""
        with self._as_input_error(), self._zip.open(f"{name}.npy") as file:
            shape, fortran, kind = _header(file)
            if kind.hasobject:
                raise InputError(f"{self.where}: array '{name}' holds Python objects; {remedy}")
            what = f"{self.where}: array '{name}' of shape {shape}"
            self.limits.check_array(shape, max(kind.itemsize, 1), what)
            flat = np.empty(int(np.prod(shape, dtype=object)), kind)
            _fill(file, flat, name)
            order: Any = "F" if fortran else "C"
            native = flat.astype(kind.newbyteorder("="), copy=False)
            return native.reshape(shape, order=order)

    def ragged(self, name: str) -> np.ndarray:
        """Reads an array, or an object array of sequences of different lengths.

        Raises:
            InputError: As for any array, or if its objects are no sequences of numbers.
        """
        with self._as_input_error():
            entry = self._zip.getinfo(f"{name}.npy")
            with self._zip.open(entry) as file:
                shape, _, kind = _header(file)
                if not kind.hasobject:
                    return self[name]
                what = f"{self.where}: array '{name}' of shape {shape}"
                self.limits.check_array((entry.file_size,), 1, what)
                read = read_objects(file)
        if shape != read.shape:
            raise InputError(f"{what} has {len(read)} sequences; save it anew")
        return read

    def _as_input_error(self) -> _AsInputError:
        return _AsInputError(self.where)


class _AsInputError:
    """Context in which any error that a damaged file causes becomes an `InputError`."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError):
            said: object = error
            if isinstance(error, MemoryError):
                said = "too large for memory"
            elif isinstance(error, zipfile.BadZipFile):
                said = f"damaged, or of another format: {error}"
            raise InputError(
                f"{self.where} cannot be read as a .npz file ({said}); save it anew with "
                "numpy.savez"
            ) from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and the type of the numbers."""
    version = npy.read_magic(file)
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, kind = reader(file, max_header_size=LONGEST_HEADER)
    if any(length < 0 for length in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, kind


def _fill(file: IO[bytes], flat: np.ndarray, name: str) -> None:
    """Reads the numbers of an array, in pieces."""
    read, total = 0, flat.nbytes
    place = flat.view(np.uint8) if total else flat
    while read < total:
        piece = file.read(min(CHUNK, total - read))
        if not piece:
            raise ValueError(f"array '{name}' ends too early")
        place[read : read + len(piece)] = np.frombuffer(piece, np.uint8)
        read += len(piece)
    if file.read(1):
        raise ValueError(f"array '{name}' goes on after its end")
