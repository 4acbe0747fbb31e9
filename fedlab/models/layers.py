"""What kinds of layers a network has, told by their types."""

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
    """Whether all that has parameters is a dense layer or normalises one."""
    slow = (*CONVOLUTIONS, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    return not any(isinstance(module, slow) for module in model.modules())


def learning(model: nn.Module) -> int:
    """How many parameters of a network learn; those that are frozen do not count."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
