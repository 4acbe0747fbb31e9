"""Channels-last memory format, in which convolutions are fastest."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Tensors of shape (n, c, h, w) in channels-last format; other tensors unchanged.

    Values and shape are the same. On a CPU, convolutions need not reorder every batch; on a GPU,
    tensor cores read this format.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


@contextmanager
def channels_last_gradients(model: nn.Module) -> Generator[None]:
    """Within the context, pooling layers get their gradients in channels-last format.

    A dense layer returns gradients with channels first, with which the backward pass of pooling
    copies its larger gradient twice. Not for use under `torch.func.vmap`.
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
