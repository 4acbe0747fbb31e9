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
