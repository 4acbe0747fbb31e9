"""Settings of glibc's allocator."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt`` (``malloc.h``)."""

LARGEST_KEPT = 32 * 2**20
"""Largest ``M_MMAP_THRESHOLD`` that glibc accepts, in bytes; larger blocks are always returned."""

CHOSEN_BY_HAND = (
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory() -> None:
    """Makes this process reuse freed memory instead of returning it to the system.

    By default glibc returns large blocks and gets new, zeroed pages for the next ones: about
    140,000 page faults a round for 250 steps of a small convolutional network. With this setting,
    memory stays with the process until it ends, or until `return_freed_memory`. Does nothing with
    another C library, or if an environment variable of `CHOSEN_BY_HAND` is set.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Returns the freed memory of this process to the system, such as that of its previous run.

    Otherwise a process with many runs grows with every run, because what one leaves is divided into
    pieces in which the next one finds no room for its large blocks.
    """
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


def _of_glibc(name: str) -> Any:
    """A function of glibc's allocator; None where there is none, or the user has set it up."""
    if not sys.platform.startswith("linux") or any(each in os.environ for each in CHOSEN_BY_HAND):
        return None
    return getattr(ctypes.CDLL(None), name, None)
