"""Settings of glibc's allocator."""

from __future__ import annotations

import ctypes
import os
import sys

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
    memory stays with the process until it ends. Does nothing with another C library, or if an
    environment variable of `CHOSEN_BY_HAND` is set.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN_BY_HAND):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
