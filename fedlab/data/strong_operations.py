"""The fourteen operations of RandAugment at magnitude 10 of 30 (see `fedlab.data.randaugment`).

Each changes a slice of a batch in place, in as few calls as there are: images of both directions
lie next to each other. The formulas are torchvision's; results need not be in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample
from torchvision.transforms.v2 import functional as image

MAGNITUDE = 10 / 30
SHEAR = math.degrees(math.atan(0.3 * MAGNITUDE))
SHIFT = 150 / 331 * MAGNITUDE
TURN = 30 * MAGNITUDE
ENHANCE = 0.9 * MAGNITUDE
BITS = 8 - round(4 * MAGNITUDE)
SOLARIZE = 1 - MAGNITUDE
LUMA = (0.2989, 0.587, 0.114)

OPERATIONS = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness"),
    *("saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)

Change = Callable[[Tensor, Sequence[int], Tensor], None]
"""(images of shape (n, channels, height, width), number of them of each kind, kind of each)."""


def _move(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    """Shears, rotations and translations, by nearest pixels; pixels from outside are black."""
    grids = _grids(*images.shape[2:], images.dtype, images.device)[kinds]
    images.copy_(grid_sample(images, grids, mode="nearest", align_corners=False))


@lru_cache(maxsize=16)
def _grids(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Source coordinates of an image's pixels, shape (2 · operations, height, width, 2)."""
    grids: list[Tensor] = []
    for shear_x, shear_y, right, down, angle in (
        (SHEAR, 0, 0, 0, 0),
        (0, SHEAR, 0, 0, 0),
        (0, 0, SHIFT * width, 0, 0),
        (0, 0, 0, SHIFT * height, 0),
        (0, 0, 0, 0, TURN),
    ):
        for side in (-1.0, 1.0):
            said = (side * each for each in (angle, right, down, shear_x, shear_y))
            theta = torch.tensor(_inverse(*said), dtype=dtype).view(2, 3)
            grids.append(_grid(theta, height, width))
    return torch.stack(grids).to(device)


def _inverse(
    angle: float, right: float, down: float, shear_x: float, shear_y: float
) -> list[float]:
    """The inverse of a rotation, shears (degrees) and shifts (pixels) about the centre."""
    turn, across, along = map(math.radians, (angle, shear_x, shear_y))
    a = math.cos(turn - along) / math.cos(along)
    b = -(a * math.tan(across) + math.sin(turn))
    c = math.sin(turn - along) / math.cos(along)
    d = math.cos(turn) - c * math.tan(across)
    return [d, -b, -d * right + b * down, -c, a, c * right - a * down]


def _grid(theta: Tensor, height: int, width: int) -> Tensor:
    """The coordinates of an image's pixels after a map in pixels, scaled to [-1, 1]."""
    base = torch.ones(height, width, 3, dtype=theta.dtype)
    base[..., 0] = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, steps=width)
    base[..., 1] = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, steps=height)[:, None]
    scaled = theta.t() / torch.tensor([0.5 * width, 0.5 * height], dtype=theta.dtype)
    return base.view(1, -1, 3).bmm(scaled[None]).view(height, width, 2)


def _directions(images: Tensor, sizes: Sequence[int]) -> list[tuple[float, slice]]:
    """(factor of an enhancement, images with it) for both directions, if there are any."""
    down, up = slice(sizes[0]), slice(sizes[0], len(images))
    both = ((1 - ENHANCE, down, sizes[0]), (1 + ENHANCE, up, sizes[1]))
    return [(factor, where) for factor, where, size in both if size]


def _brighten(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    for factor, where in _directions(images, sizes):
        images[where].mul_(factor)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    grey = red.mul(LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return grey.unsqueeze(1)


def _saturate(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    """Changes saturation; images of one channel stay as they are."""
    if images.shape[1] > 1:
        _blend(images, _grey(images), sizes)


def _contrast(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    _blend(images, _grey(images).mean(dim=(-3, -2, -1), keepdim=True), sizes)


def _blend(images: Tensor, others: Tensor, sizes: Sequence[int]) -> None:
    for factor, where in _directions(images, sizes):
        images[where].mul_(factor).add_(others[where], alpha=1 - factor)


def _sharpen(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    """Changes sharpness; the outermost pixels stay as they are."""
    if min(images.shape[2:]) <= 2:
        return
    channels, inner = images.shape[1], images[..., 1:-1, 1:-1]
    kernel = _kernel(images.dtype, images.device).expand(channels, 1, 3, 3)
    for factor, where in _directions(images, sizes):
        blurred = conv2d(images[where], kernel, groups=channels)
        inner[where].add_(blurred.sub_(inner[where]), alpha=1 - factor)


@lru_cache(maxsize=16)
def _kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    kernel = torch.full((3, 3), 1 / 13, dtype=dtype)
    kernel[1, 1] = 5 / 13
    return kernel.to(device)


def _posterize(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    levels = 2**BITS
    images.mul_(levels).floor_().clamp_(0, levels - 1).mul_(1 / levels)


def _solarize(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    images.copy_(torch.where(images >= SOLARIZE, 1 - images, images))


def _autocontrast(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    """Stretches contrast to the full range; channels of a single value stay as they are."""
    low, high = images.amin(dim=(-2, -1), keepdim=True), images.amax(dim=(-2, -1), keepdim=True)
    flat = high == low
    images.sub_(low.masked_fill(flat, 0)).div_((high - low).masked_fill_(flat, 1))


def _equalize(images: Tensor, sizes: Sequence[int], kinds: Tensor) -> None:
    """Equalises the histogram of bytes as Pillow does; channels of a single value stay."""
    bytes_ = image.to_dtype(images, torch.uint8, scale=True)
    flat = bytes_.flatten(-2).long()
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int32, device=flat.device)
    counts.scatter_add_(-1, flat, torch.ones_like(flat, dtype=torch.int32))
    up_to = counts.cumsum(-1)
    highest = counts.gather(-1, up_to.argmax(dim=-1, keepdim=True))
    step = (flat.shape[-1] - highest).div(255, rounding_mode="floor")
    table = (up_to - counts + step // 2).div_(step.clamp(min=1), rounding_mode="floor")
    table[..., 0] = 0
    levelled = table.clamp_(0, 255).gather(-1, flat)
    levelled = torch.where(step != 0, levelled, flat).view(images.shape).to(torch.uint8)
    images.copy_(image.to_dtype(levelled, images.dtype, scale=True))


FAMILIES: tuple[tuple[int, Change | None], ...] = (
    (1, None),
    (5, _move),
    *((1, change) for change in (_brighten, _saturate, _contrast, _sharpen)),
    *((1, change) for change in (_posterize, _solarize, _autocontrast, _equalize)),
)
"""How many of the operations, in their order, a function does; None changes nothing."""
