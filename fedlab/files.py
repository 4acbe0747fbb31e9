"""Atomic replacement of files: a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path, *, private: bool = False, shared: bool = False) -> Generator[Path]:
    """A temporary file beside `path`, which replaces it at the end of the block.

    Its bytes are on the disk before it has the name, so that a power cut leaves the old file or the
    new one. An error in the block leaves `path` as it was.

    Args:
        path: The file; replaced if it is there.
        private: Whether its owner alone can read it, from its first byte on; otherwise the umask
            decides.
        shared: Whether other processes may write the same file at the same time.

    Yields:
        An empty file, ``<name>.unfinished`` (of a shared file, ``<name>.<uuid>.unfinished``).
    """
    unfinished = path.with_name(f"{path.name}{f'.{uuid.uuid4().hex}' * shared}.unfinished")
    unfinished.unlink(missing_ok=True)  # a killed process may have left one with another mode
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(os.open(unfinished, flags, 0o600 if private else 0o666))
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(
    path: Path,
    content: str | bytes | bytearray,
    *,
    private: bool = False,
    shared: bool = False,
) -> None:
    """Writes a text, in UTF-8, or bytes atomically; see `whole_file`."""
    with whole_file(path, private=private, shared=shared) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, and that must not exist yet.

    Raises:
        FileExistsError: If it is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_private(folder: Path) -> None:
    """Creates a folder that only its owner can read, or makes an existing one private."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
