"""The memory order that convolution kernels are quickest in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Images and kernels, shape (n, c, h, w), with channels innermost in memory; others as is.

    Values and shape stay. Convolutions on a CPU skip a reordering of every batch; on a GPU this is
    what tensor cores read.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


@contextmanager
def channels_last_gradients(model: nn.Module) -> Generator[None]:
    """Within the context, pooling layers are handed their gradients with channels innermost.

    A dense layer hands back gradients with channels outermost, and the backward pass of pooling
    then copies the larger gradient that it makes twice. Not for `torch.func.vmap`.
    """
    handles = [
        module.register_forward_hook(_reorder_gradient)
        for module in model.modules()
        if isinstance(module, POOLING)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _reorder_gradient(module: nn.Module, inputs: Any, outputs: torch.Tensor) -> None:
    if isinstance(outputs, torch.Tensor) and outputs.requires_grad:
        outputs.register_hook(channels_last)
