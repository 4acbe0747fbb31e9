"""Dividing the last feature map of a network by a learnt mask, before it is pooled (F2DC)."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from fedlab.models.captured import captured_inputs
from fedlab.models.head import find_head


class FeatureSplit(nn.Module):
    """Takes the place of a pooling layer, and pools F⁺ + F* instead of F.

    M = sigmoid((D(F) + g₁ - g₀) / σ) with standard Gumbel noise g, F⁺ = M ⊙ F, F⁻ = (1 - M) ⊙ F and
    F* = F⁻ + (1 - M) ⊙ C(F⁻). In evaluation mode there is no noise.

    Args:
        pool: The pooling layer.
        channels: Channels of the map F.
        width: Channels within the networks D and C.
        sigma: σ, the temperature of the mask.
        classes: Number of classes.
        size: Number of pooled features.
    """

    def __init__(
        self, pool: nn.Module, channels: int, width: int, sigma: float, classes: int, size: int
    ) -> None:
        super().__init__()
        self.pool = pool
        self.scores = _three_convolutions(channels, width)
        self.calibration = _three_convolutions(channels, width)
        self.auxiliary = nn.Linear(size, classes)
        """Judges each part in training; the forward pass does not use it."""
        self.parts = nn.Identity()
        """Is given the pooled F⁺, F⁻ and F*, for `listen_to_parts`."""
        self.sigma = sigma

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of shape (batch, channels, height, width) to pooled features."""
        scores = self.scores(maps)
        if self.training:
            scores = scores + _gumbel(scores) - _gumbel(scores)
        mask = torch.sigmoid(scores / self.sigma)
        robust, rest = mask * maps, (1 - mask) * maps
        restored = rest + (1 - mask) * self.calibration(rest)
        self.parts(torch.stack([self.pool(robust), self.pool(rest), self.pool(restored)]))
        return self.pool(robust + restored)


def _three_convolutions(channels: int, width: int) -> nn.Sequential:
    """Convolutions 3x3 with normalisation between them, from `channels` to as many."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels, kernel_size=3, padding=1, bias=False),
    )


def _gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise, -log(-log U)."""
    least = torch.finfo(like.dtype).tiny
    uniform = torch.rand_like(like).clamp(min=least)
    return -(-uniform.log()).clamp(min=least).log()


def split_before_pooling(model: nn.Module, width: int, sigma: float) -> nn.Module:
    """Puts a `FeatureSplit` in the place of the last adaptive average pooling.

    Args:
        model: The network; changed in place. Left as it is, where its head does not read pooled
            maps of a convolution (see `find_split`).
        width: Channels within D and C.
        sigma: σ.
    """
    head, found = find_head(model), _last_pooling(model)
    if head is None or found is None:
        return model
    path, pool, channels = found
    rows, columns = _sides(pool)
    size = channels * rows * columns
    if size != head.features:
        return model
    split = FeatureSplit(pool, channels, width, sigma, head.layer.out_features, size)
    model.set_submodule(path, split)
    return model


def find_split(model: nn.Module) -> tuple[str, FeatureSplit] | None:
    """A network's `FeatureSplit` and its path, or None."""
    return next(((p, m) for p, m in model.named_modules() if isinstance(m, FeatureSplit)), None)


def listen_to_parts(split: FeatureSplit) -> AbstractContextManager[list[Tensor]]:
    """Records the pooled F⁺, F⁻ and F* of every forward pass, flat: (3, batch, features)."""
    return captured_inputs(split.parts, lambda parts: parts.flatten(start_dim=2))


def _last_pooling(model: nn.Module) -> tuple[str, nn.AdaptiveAvgPool2d, int] | None:
    """The last adaptive average pooling, its path and the channels that it reads."""
    found, channels = None, 0
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.AdaptiveAvgPool2d) and channels and path:
            found = path, module, channels
    return found


def _sides(pool: nn.AdaptiveAvgPool2d) -> tuple[int, int]:
    size = pool.output_size
    rows, columns = size if isinstance(size, tuple) else (size, size)
    return rows or 0, columns or 0
