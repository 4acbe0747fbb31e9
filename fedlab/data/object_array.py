"""Reads sequences of numbers from a pickled object array, without executing its code.

NumPy writes an array of objects as a pickle, and a pickle may call anything when it is read. Here
stand-ins take the place of the few names that an array of arrays or lists needs, and every other
name is refused.
"""

from __future__ import annotations

import pickle
from typing import IO, Any

import numpy as np

ARRAY = "ndarray"
KINDS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f4", "f8", "b1", "O8", "O"}


def read_objects(file: IO[bytes]) -> np.ndarray:
    """The sequences of a pickled object array, shape (n,).

    Args:
        file: At the beginning of the pickle.

    Raises:
        ValueError: If it is anything else than numbers in lists or arrays.
    """
    read = _RestrictedUnpickler(file).load()
    if not isinstance(read, _Array) or not isinstance(read.content, list):
        raise ValueError("it is no array of sequences")
    made = np.empty(len(read.content), object)
    for place, each in enumerate(read.content):
        made[place] = np.asarray(each.content) if isinstance(each, _Array) else each
    return made


class _Kind:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, name: str = "", *_: Any) -> None:
        if name not in KINDS:
            raise ValueError(f"numbers of the type '{str(name)[:20]}'")
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = "<" if state[1] == "|" else str(state[1])


class _Array:
    """Stands in for ``numpy.ndarray``."""

    content: Any = None

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, _, content = state
        if not isinstance(kind, _Kind) or len(shape) != 1:
            raise ValueError(f"an array of shape {shape}")
        if kind.name.startswith("O"):
            self.content = list(content)
        else:
            self.content = np.frombuffer(content, np.dtype(kind.order + kind.name)).copy()


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that accepts three names."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for one of NumPy's names.

        Raises:
            ValueError: For every other name.
        """
        if module.partition(".")[0] == "numpy":
            if name == "_reconstruct":
                return lambda *_: _Array()
            if name == ARRAY:
                return _Array
            if name == "dtype":
                return _Kind
        raise ValueError(f"it wants '{module}.{name}'")
