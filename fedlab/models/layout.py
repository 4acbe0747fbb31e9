"""The memory order that convolution kernels are quickest in."""

from __future__ import annotations

import torch


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Images and kernels, shape (n, c, h, w), with channels innermost in memory; others as is.

    Values and shape stay. Convolutions on a CPU skip a reordering of every batch; on a GPU this is
    what tensor cores read.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
