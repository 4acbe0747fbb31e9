"""Strongly changed views of images, on whatever device they are on.

RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, Cubuk, Zoph, Shlens,
Le, NeurIPS 2020, arXiv 1909.13719. One operation of its fourteen at magnitude 10 of 30 (FedLabel's
setting, arXiv 2307.08809), after a random crop. Where ``data.augmentation.flip`` says that the
mirror image of a sample is one of its class, as for most photographs and for few digits, half of
the images are mirrored as well.

As in `fedlab.data.augment`, what is drawn is told apart from what is done with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as image

from fedlab.data.augment import crop

DRAWS = 5  # mirror, crop down, crop right, operation, direction
MAGNITUDE = 10 / 30
CROP_PADDING = 1 / 8
"""Padding before the crop, as a share of the height: 4 pixels of 32, as is usual."""

Operation = Callable[[Tensor, float], Tensor]
"""(images of shape (n, channels, height, width), direction -1 or 1) -> images."""


def draw_strong(count: int, generator: torch.Generator) -> Tensor:
    """All that is random about `count` images: uniform in [0, 1), shape (count, `DRAWS`)."""
    return torch.rand(count, DRAWS, generator=generator, device=generator.device)


def strong_view(pixels: Tensor, draws: Tensor, *, mirrors: bool) -> Tensor:
    """Crops, and applies to each image an operation of its own.

    Args:
        pixels: float32 in [0, 1], shape (n, channels, height, width).
        draws: Uniform in [0, 1), shape (n, `DRAWS`); see `draw_strong`.
        mirrors: Whether half of the images are mirrored.

    Returns:
        float32 in [0, 1], same shape, a new tensor.
    """
    mirror, down, right, which, side = draws.to(pixels).unbind(dim=1)
    padding = round(pixels.shape[2] * CROP_PADDING)
    changed = crop(pixels, padding, down, right, (mirror < 0.5) & mirrors)
    chosen = (which * len(OPERATIONS)).long()
    for index, operation in enumerate(OPERATIONS):
        for direction, wanted in ((-1.0, side < 0.5), (1.0, side >= 0.5)):
            rows = ((chosen == index) & wanted).nonzero().flatten()
            if len(rows):
                changed[rows] = operation(changed[rows], direction).clamp(0, 1)
    return changed


def _affine(
    images: Tensor,
    angle: float = 0.0,
    right: float = 0.0,
    down: float = 0.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Moves images about; shifts are shares of the width and height, angles degrees."""
    height, width = images.shape[2:]
    return image.affine(
        images,
        angle=angle,
        translate=[right * width, down * height],
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.NEAREST,
    )


SHEAR = math.degrees(math.atan(0.3 * MAGNITUDE))
SHIFT = 150 / 331 * MAGNITUDE
ENHANCE = 0.9 * MAGNITUDE

OPERATIONS: tuple[Operation, ...] = (
    lambda images, _: images,
    lambda images, side: _affine(images, shear=(side * SHEAR, 0.0)),
    lambda images, side: _affine(images, shear=(0.0, side * SHEAR)),
    lambda images, side: _affine(images, right=side * SHIFT),
    lambda images, side: _affine(images, down=side * SHIFT),
    lambda images, side: _affine(images, angle=side * 30 * MAGNITUDE),
    lambda images, side: image.adjust_brightness(images, 1 + side * ENHANCE),
    lambda images, side: image.adjust_saturation(images, 1 + side * ENHANCE),
    lambda images, side: image.adjust_contrast(images, 1 + side * ENHANCE),
    lambda images, side: image.adjust_sharpness(images, 1 + side * ENHANCE),
    lambda images, _: image.posterize(images, 8 - round(4 * MAGNITUDE)),
    lambda images, _: image.solarize(images, 1 - MAGNITUDE),
    lambda images, _: image.autocontrast(images),
    lambda images, _: image.equalize(images),
)
