"""The stored type of numbers: float32 where that keeps different values different, else float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOST = 1e-5
"""Largest rounding to float32 that is no loss, as a share of a feature's standard deviation."""


def stored(splits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Features of several splits or domains, all in one common type.

    Features are standardised on the device, in the type that they are stored in. A date in days
    since 4713 BC has no digits left for hours in float32; measurements hardly ever need more.

    Args:
        splits: float64 of shape (n, features), or (n, channels, length), each.
    """
    needed = any(_loses(column) for column in _columns(splits))
    kind = np.float64 if needed else np.float32
    return [each.astype(kind) for each in splits]


def as_floats(numbers: np.ndarray) -> np.ndarray:
    """Numbers of any type in the smallest type of floats that represents them exactly."""
    if numbers.dtype.kind == "f":
        return numbers.astype(np.float64 if numbers.dtype.itemsize > 4 else np.float32, copy=False)
    small = numbers.dtype.kind == "b" or numbers.dtype.itemsize <= 2
    return numbers.astype(np.float32 if small else np.float64)


def _columns(splits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All numbers of each feature (or channel)."""
    width = splits[0].shape[1] if splits else 0
    return [np.concatenate([each[:, column].ravel() for each in splits]) for column in range(width)]


def _loses(column: np.ndarray) -> bool:
    """Whether rounding to float32 makes different numbers of a feature (n,) equal."""
    column = column[np.isfinite(column)]
    if not len(column) or column.min() == column.max():
        return False
    if np.abs(column).max() > np.finfo(np.float32).max:
        return True
    rounding = np.abs(column - column.astype(np.float32)).max()
    return bool(rounding > LOST * column.std())
