"""Residual blocks that keep their variance without normalisation.

Brock, De and Smith, "Characterizing signal propagation to close the performance gap in
unnormalized ResNets", ICLR 2021, arXiv 2101.08692; the zero gain at the end of a branch is of
De and Smith, "Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep
Networks", NeurIPS 2020, arXiv 2002.10444.
"""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from fedlab.errors import InputError

ALPHA = 0.2
"""Weight of a branch: its share of the variance that a block adds."""


class NormaliserFreeBlock(nn.Module):
    """h -> shortcut + α · skip_gain · f(h / β), where f begins with the activation.

    The shortcut is h itself; where it has a convolution it reads activation(h / β) instead, which
    brings the variance back.

    Args:
        block: A block of torchvision, its normalisation removed.
        beta: The standard deviation expected of h at initialisation, in units of γ, which the
            convolutions that write into h are multiplied by.

    Attributes:
        skip_gain: Learnable scalar, 0 at first: the block begins as its shortcut.
    """

    def __init__(self, block: BasicBlock | Bottleneck, beta: float) -> None:
        super().__init__()
        convolutions = [block.conv1, block.conv2]
        if isinstance(block, Bottleneck):
            convolutions.append(block.conv3)
        branch: list[nn.Module] = [convolutions[0]]
        for convolution in convolutions[1:]:
            branch += [deepcopy(block.relu), convolution]
        self.beta = beta
        self.activation = block.relu
        self.branch = nn.Sequential(*branch)
        self.shortcut = nn.Identity() if block.downsample is None else block.downsample
        self.projects = any(isinstance(part, nn.Conv2d) for part in self.shortcut.modules())
        self.skip_gain = nn.Parameter(torch.zeros(()).to(block.conv1.weight))

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c', h', w')."""
        activated = self.activation(hidden / self.beta)
        shortcut = self.shortcut(activated if self.projects else hidden)
        return shortcut + ALPHA * self.skip_gain * self.branch(activated)


def without_normalised_residuals(model: nn.Module) -> nn.Module:
    """Turns each residual block of a ResNet into a `NormaliserFreeBlock`.

    β² is the expected variance: 1 after the stem, α² more after each block, and 1 + α² after a
    block whose shortcut has a convolution. The activation that closed the last block stays behind
    it, for the pooling.

    Args:
        model: A network of torchvision's ``BasicBlock`` or ``Bottleneck``, its normalisation
            removed; changed in place.

    Raises:
        InputError: If it has no such block.
    """
    blocks = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, BasicBlock | Bottleneck)
    ]
    if not blocks:
        raise InputError(
            "nf_residual needs a network of residual blocks, such as 'resnet18' or 'resnet20'; "
            "turn it off for this one"
        )
    variance = 1.0
    for path, block in blocks:
        new = NormaliserFreeBlock(block, math.sqrt(variance))
        last = block is blocks[-1][1]
        model.set_submodule(path, nn.Sequential(new, deepcopy(block.relu)) if last else new)
        variance = (1.0 if new.projects else variance) + ALPHA**2
    return model
