"""Random changes of image batches, computed on the batch's device.

Drawing and applying are separate steps: a cohort of clients can draw from their own
generators, one small tensor each, and have all their images changed at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from fedlab.data.spec import Augmentation

DRAWS = 6  # flip, rotation, crop down, crop right, brightness, contrast


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Random numbers for `count` images: uniform in [0, 1), shape (count, `DRAWS`)."""
    return torch.rand(count, DRAWS, generator=generator)


def change(pixels: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Rotates, shifts and mirrors images, then changes their brightness and their contrast.

    What comes in from outside an image is black.

    Args:
        pixels: float32 in [0, 1], shape (n, channels, height, width).
        draws: Uniform in [0, 1), shape (n, `DRAWS`); see `draw`.
        augmentation: How large the changes may be.

    Returns:
        float32 in [0, 1], same shape, a new tensor.
    """
    flip, angle, down, right, brightness, contrast = draws.to(pixels).unbind(dim=1)
    if augmentation.rotation:
        pixels = rotate(pixels, math.radians(augmentation.rotation) * (2 * angle - 1))
    if augmentation.flip or augmentation.crop_padding:
        mirrored = (flip < 0.5) & augmentation.flip
        pixels = crop(pixels, augmentation.crop_padding, down, right, mirrored)
    if augmentation.brightness:
        factor = _factor(brightness, augmentation.brightness)
        pixels = (pixels * factor).clamp(0, 1)
    if augmentation.contrast:
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        factor = _factor(contrast, augmentation.contrast)
        pixels = (mean + (pixels - mean) * factor).clamp(0, 1)
    return pixels


def rotate(pixels: Tensor, angles: Tensor) -> Tensor:
    """Turns each image about its centre by its own angle in radians, counter-clockwise.

    Images must be square; `angles` has the shape (n,).
    """
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    turns = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = affine_grid(turns, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, align_corners=False)


def crop(pixels: Tensor, padding: int, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
    """Pads each image, crops it to its old size at its own offset, and mirrors some.

    Args:
        pixels: Shape (n, channels, height, width).
        padding: Black pixels added on each side.
        down: In [0, 1), from the highest to the lowest place, shape (n,).
        right: In [0, 1), from the leftmost to the rightmost place, shape (n,).
        mirrored: Whether left and right are swapped, bool of shape (n,).
    """
    height, width = pixels.shape[2:]
    places = 2 * padding + 1
    rows = torch.arange(height, device=pixels.device) + (down * places).long()[:, None]
    columns = torch.arange(width, device=pixels.device).expand(len(pixels), width)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    columns = columns + (right * places).long()[:, None]
    padded = pad(pixels, [padding] * 4)
    images = torch.arange(len(pixels), device=pixels.device)
    cut = padded[images[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()


def _factor(uniform: Tensor, largest: float) -> Tensor:
    """Factors from 1 - largest (but at least 0) to 1 + largest, shaped to multiply images."""
    lowest = max(0.0, 1 - largest)
    return (lowest + uniform * (1 + largest - lowest)).view(-1, 1, 1, 1)
