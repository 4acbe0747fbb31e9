"""Layers with a low-rank addition to their weight, and plain layers made of them.

A layer keeps the names of its tensors, so that files of weights fit with and without adapters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, dropout, linear

from fedlab.models.surgery import replace_modules

A, B = "lora_a", "lora_b"
"""Names of the two factors within their layer."""


class LoRALinear(nn.Linear):
    """``W x + b + scale · B (A x)``.

    Attributes:
        lora_a: A, shape (rank, inputs).
        lora_b: B, shape (outputs, rank), zeros at first.
        scale: α / rank.
        drops: Probability with which an input of A is dropped in training.
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    drops: float

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        inside = linear(_dropped(self, input), self.lora_a)
        return super().forward(input) + self.scale * linear(inside, self.lora_b)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The dense layer with the weight W + scale · B A."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, "meta")
        plain.weight = nn.Parameter(self.weight + self.scale * self.lora_b @ self.lora_a)
        plain.bias = self.bias
        return plain


class LoRAConv2d(nn.Conv2d):
    """A convolution to ``rank`` channels by A, then one of 1x1 by B, added to the layer's own.

    Attributes:
        lora_a: A, shape (rank, in_channels, height, width).
        lora_b: B, shape (out_channels, rank), zeros at first.
        scale: α / rank.
        drops: Probability with which an input of A is dropped in training.
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    scale: float
    drops: float

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) -> (n, out_channels, h', w')."""
        inside = self._conv_forward(_dropped(self, input), self.lora_a, None)
        added = conv2d(inside, self.lora_b[:, :, None, None])
        return super().forward(input) + self.scale * added

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The convolution with the kernels W + scale · B A."""
        added = torch.einsum("or,rihw->oihw", self.lora_b, self.lora_a)
        plain = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,  # type: ignore[arg-type]
            stride=self.stride,  # type: ignore[arg-type]
            padding=self.padding,  # type: ignore[arg-type]
            dilation=self.dilation,  # type: ignore[arg-type]
            padding_mode=self.padding_mode,
            bias=self.bias is not None,
            device="meta",
        )
        plain.weight = nn.Parameter(self.weight + self.scale * added)
        plain.bias = self.bias
        return plain


def can_carry(module: nn.Module) -> bool:
    """Whether a layer can have a low-rank addition: dense, or an ungrouped 2-d convolution.

    Subclasses are left out, as their ``forward`` may do anything.
    """
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)


def has_weight(module: nn.Module) -> bool:
    """Whether a layer's weight is a parameter, and not made of others by a hook."""
    return module._parameters.get("weight") is not None


def largest_rank(module: nn.Module) -> int:
    """The largest rank of an addition: that of the weight itself."""
    assert isinstance(module, nn.Linear | nn.Conv2d)
    outputs = module.weight.shape[0]
    return min(outputs, module.weight[0].numel())


def add_factors(module: nn.Module, rank: int, alpha: float, drops: float) -> None:
    """Gives a layer a low-rank addition, in place; its outputs stay the same, as B is zero.

    A is drawn as a dense layer's weight is (uniform, as in the authors' code), from PyTorch's
    generator.
    """
    assert isinstance(module, nn.Linear | nn.Conv2d)
    adapted: Any = module
    adapted.__class__ = LoRALinear if isinstance(module, nn.Linear) else LoRAConv2d
    weight = module.weight
    adapted.lora_a = nn.Parameter(weight.new_empty(rank, *weight.shape[1:]))
    adapted.lora_b = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
    adapted.scale, adapted.drops = alpha / rank, drops
    nn.init.kaiming_uniform_(adapted.lora_a, a=math.sqrt(5))
    # PyTorch's fused transformer layers read a dense layer's weight past its `forward`, unless a
    # hook is there.
    module.register_forward_pre_hook(_does_nothing)


def merge(model: nn.Module) -> nn.Module:
    """Makes every layer with a low-rank addition a plain one that computes the same.

    Args:
        model: The network, changed in place.

    Returns:
        The network: `model`, unless it is itself such a layer.
    """
    return replace_modules(model, _plain)


def _plain(module: nn.Module) -> nn.Module:
    return module.merged() if isinstance(module, LoRALinear | LoRAConv2d) else module


def is_adapted(module: nn.Module) -> bool:
    """Whether a layer has a low-rank addition."""
    return isinstance(module, LoRALinear | LoRAConv2d)


def _dropped(layer: LoRALinear | LoRAConv2d, input: Tensor) -> Tensor:
    return dropout(input, layer.drops, layer.training) if layer.drops else input


def _does_nothing(module: nn.Module, inputs: Any) -> None:
    pass
