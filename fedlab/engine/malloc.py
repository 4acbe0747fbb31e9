"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt`` (``malloc.h``)."""

LARGEST_KEPT = 32 * 2**20
"""Bytes of a block from which on it always goes back; glibc takes no more than this."""

CHOSEN_BY_HAND = (
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for the tensors that it makes next.

    glibc hands large blocks back to the system and gets them again page by page, each filled with
    zeros: about 140,000 page faults a round for 250 steps of a small convolutional network. Memory
    that was needed once stays with the process until it ends. Does nothing where the C library is
    another one, or where somebody has chosen its settings.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in CHOSEN_BY_HAND):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
