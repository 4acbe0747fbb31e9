"""Environments for platforms that cannot share fedlab's: made once, by uv, under a cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class UnavailableError(Exception):
    """A platform cannot be installed or run here; the message says why, in one line."""


def cache_folder() -> Path:
    """Where environments and data are kept: ``$FEDLAB_CACHE``, or else ``~/.cache/fedlab``."""
    chosen = os.environ.get("FEDLAB_CACHE")
    home = Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "fedlab"
    return home / "benchmarks"


def python_with(requirements: Sequence[str], version: str = "3.11") -> Path:
    """A Python interpreter that has these packages; the one that runs this, if there are none.

    Raises:
        UnavailableError: If there is no uv, or it cannot install them, or has no such Python.
    """
    if not requirements:
        return Path(sys.executable)
    digest = hashlib.sha256(" ".join([version, *requirements]).encode()).hexdigest()[:12]
    folder = cache_folder() / "environments" / digest
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise UnavailableError("uv, which makes its environment, is not installed")
    for command in (
        [uv, "venv", "--clear", "--python", version, str(folder)],
        [uv, "pip", "install", "--python", str(python), *requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"cannot be installed: {last_line(done.stderr)}")
    (folder / "complete").touch()
    return python


def last_line(text: str) -> str:
    """The last line that says anything, which of a traceback is the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
