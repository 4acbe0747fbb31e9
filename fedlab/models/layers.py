"""Kinds of layers of a network, by their types."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def only_dense(model: nn.Module) -> bool:
    """Whether a network has no convolution, recurrent or attention layer."""
    slow = (*CONVOLUTIONS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    return not any(isinstance(module, slow) for module in model.modules())


def learning(model: nn.Module) -> int:
    """Number of trainable parameters of a network, without frozen ones."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
