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
    if tensor.dim() != 4:
        return tensor
    if tensor.shape[1] == 1:
        return _one_channel(tensor)
    return tensor.contiguous(memory_format=torch.channels_last)


def _one_channel(tensor: torch.Tensor) -> torch.Tensor:
    """Shape (n, 1, h, w) with the strides of channels last.

    One channel lies in memory alike in both formats, so that `contiguous` leaves its strides, which
    convolutions then read as channels first: the rest of the network would change format twice.
    """
    return tensor.contiguous().squeeze(1).unsqueeze(-1).movedim(-1, 1)


@contextmanager
def channels_last_gradients(model: nn.Module) -> Generator[None]:
    """Within the context, pooling layers get their gradients in channels-last format.

    A dense layer returns gradients with channels first, with which the backward pass of pooling
    copies its larger gradient twice. Not for use under `torch.func.vmap`.
    """
    handles = [
        module.register_forward_hook(reorder_gradient)
        for module in model.modules()
        if isinstance(module, POOLING)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def reorder_gradient(module: nn.Module, inputs: Any, outputs: torch.Tensor) -> None:
    """The forward hook by which `channels_last_gradients` reaches a layer's gradients."""
    if isinstance(outputs, torch.Tensor) and outputs.requires_grad:
        outputs.register_hook(channels_last)
