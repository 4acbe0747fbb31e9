"""What a device says when there is no memory left."""

from __future__ import annotations

import torch


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that a smaller stack may fit."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(text in str(error) for text in words)
