"""Processes that a test starts, and their descendants (Linux)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 120.0
"""Seconds for what takes few of them on a machine that has nothing else to do."""


def parent(pid: int) -> int | None:
    """The process that started this one; None if it is gone, or only waits to be reaped."""
    try:
        state, number, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(number)


def descendants(pid: int) -> set[int]:
    """Every process below this one."""
    parents = {int(path.name): parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, above in parents.items() if above in found}
    return found - {pid}


def wait_until(happened: Callable[[], object], seconds: float) -> bool:
    """Whether something happens within so many seconds."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def end(pids: set[int]) -> None:
    """Kills processes that the test has started."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
