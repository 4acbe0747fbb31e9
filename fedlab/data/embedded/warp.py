"""Geometry for whole batches: each image gets its own pose, bend and perspective.

A grid says for every pixel of the new images where to look in the old ones, in coordinates that
run from -1 to 1. Grids are composed before the one interpolation, so nothing is blurred twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

Range = tuple[float, float]


def uniform(generator: np.random.Generator, limits: Range, *shape: int) -> Tensor:
    """Float32 numbers in [low, high) of the given shape."""
    return torch.from_numpy(generator.uniform(*limits, size=shape).astype(np.float32))


@dataclass(frozen=True)
class Poses:
    """The ranges from which an object's pose in its image is drawn.

    Attributes:
        scale: Size of the object relative to the image.
        aspect: Largest relative change of the width, either way.
        rotation: Largest angle in degrees, either way.
        shear: Largest slant, either way (sideways shift per unit of height).
        shift: Largest shift, either way (the image is 2 wide).
        perspective: Largest change of scale across the image, either way.
    """

    scale: Range = (1.0, 1.0)
    aspect: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    perspective: float = 0.0

    def place(self, grid: Tensor, generator: np.random.Generator) -> Tensor:
        """Draws one pose for each image and resamples the images by it.

        Args:
            grid: Shape (n, height, width, 2).
            generator: Source of the poses.

        Returns:
            A grid of the same shape, in coordinates of the object.
        """
        n = len(grid)
        angle = torch.deg2rad(uniform(generator, (-self.rotation, self.rotation), n))
        height = uniform(generator, self.scale, n)
        width = height * (1 + uniform(generator, (-self.aspect, self.aspect), n))
        shear = uniform(generator, (-self.shear, self.shear), n)
        shift = uniform(generator, (-self.shift, self.shift), n, 1, 1, 2)
        tilt = uniform(generator, (-self.perspective, self.perspective), n, 1, 1, 2)
        cos, sin = torch.cos(angle), torch.sin(angle)
        # Rows of (scale . shear . rotation) inverted: first turn back, then unslant and unscale.
        rows = [(cos + shear * sin) / width, (sin - shear * cos) / width, -sin / height]
        inverse = torch.stack([*rows, cos / height], dim=1).view(n, 1, 2, 2)
        seen = (grid - shift) / (1 + (grid * tilt).sum(-1, keepdim=True))
        return seen @ inverse.transpose(-1, -2)


def identity(n: int, size: int) -> Tensor:
    """The identity grid, shape (n, size, size, 2), x before y."""
    axis = (2 * torch.arange(size, dtype=torch.float32) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1).expand(n, size, size, 2)


def bend(grid: Tensor, amount: float, generator: np.random.Generator) -> Tensor:
    """Distorts elastically: a smooth random displacement of standard deviation `amount`.

    Elastic distortion of digits goes back to Simard, Steinkraus and Platt (ICDAR 2003).
    """
    n, size = grid.shape[:2]
    return grid + amount * smooth_noise(n, 2, 4, size, generator).permute(0, 2, 3, 1)


def look(images: Tensor, grid: Tensor, outside: str = "zeros") -> Tensor:
    """Samples (n, channels, h, w) images at a grid, bilinearly.

    Args:
        images: Float32 images.
        grid: Shape (n, height, width, 2).
        outside: What lies beyond the edge: ``zeros``, ``border`` or ``reflection``.

    Returns:
        Shape (n, channels, height, width).
    """
    return grid_sample(images, grid, "bilinear", outside, align_corners=False)


def smooth_noise(
    n: int, channels: int, cells: int, size: int, generator: np.random.Generator
) -> Tensor:
    """Gaussian noise on a coarse lattice of cells x cells, smoothly enlarged to size x size."""
    coarse = generator.standard_normal((n, channels, cells, cells)).astype(np.float32)
    return interpolate(
        torch.from_numpy(coarse), size=(size, size), mode="bicubic", align_corners=False
    )
