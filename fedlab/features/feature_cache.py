"""A cache of computed features on disk beside the loaded data (see `fedlab.data.array_cache`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedlab.data.array_cache import folder, is_sealed, keep


@dataclass(frozen=True)
class Features:
    """Features of both pools.

    Attributes:
        train: float32 of shape (n, features).
        test: float32 of shape (m, features).
    """

    train: np.ndarray
    test: np.ndarray


def read(key: str) -> Features | None:
    """The features stored under a key, or None if they are missing or incomplete."""
    return _read(_entry(key)) if is_sealed(_entry(key)) else None


def write(key: str, features: Features) -> None:
    """Stores features; a folder that cannot be written causes a warning."""

    def files(place: Path) -> None:
        np.save(place / "train.npy", features.train)
        np.save(place / "test.npy", features.test)

    keep(_entry(key), files, "features")


def _entry(key: str) -> Path:
    return folder().parent / "features" / key


def _read(entry: Path) -> Features | None:
    try:
        return Features(np.load(entry / "train.npy"), np.load(entry / "test.npy"))
    except (OSError, ValueError, EOFError):
        return None
