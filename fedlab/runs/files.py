"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is there as a whole or not at all, even after a power cut."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def make_private(folder: Path) -> None:
    """Makes a folder that nobody but its owner can look into; what is there becomes one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def write_private(path: Path, content: bytes, new: bool = False) -> None:
    """Writes a whole file that nobody but its owner can read, from its first byte on.

    Args:
        path: The file.
        content: What goes into it.
        new: Whether the file must not be there yet.

    Raises:
        FileExistsError: If it must not, and is.
    """
    unfinished = path if new else path.with_name(path.name + ".unfinished")
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if new else os.O_TRUNC)
    with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if not new:
        unfinished.replace(path)
