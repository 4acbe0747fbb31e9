"""Tests that import modules from temporary folders, without effect on later tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def restored(base: Path) -> Iterator[None]:
    """Restores ``sys.path``, and removes modules that came from folders no longer on it.

    `fedlab.cli` appends the current folder to ``sys.path``, and a test of it runs in a temporary
    folder. Without this, the folder and its modules would be found by all later tests.

    Args:
        base: The folder of all temporary folders; other modules stay.
    """
    path, known = sys.path[:], set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        kept = [folder for folder in map(Path, path) if folder.is_relative_to(base)]
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None)
            if not file or not Path(file).is_relative_to(base):
                continue
            if not any(Path(file).is_relative_to(folder) for folder in kept):
                del sys.modules[name]
