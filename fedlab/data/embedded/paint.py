"""Ink, colour, blur and photographs for whole batches of float32 images in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from fedlab.data.embedded.warp import identity, look

# Every recipe paints at this size; the finished images are then brought to the scenario's size.
CANVAS = 56


def ink(mask: Tensor, thickness: Tensor, softness: float = 0.3) -> Tensor:
    """Turns a blurred stroke into a firm one; a higher thickness makes it wider.

    Args:
        mask: Blurred strokes in [0, 1], shape (n, 1, h, w).
        thickness: In (0, 1), shape (n,): a stroke reaches to where its mask is 1 - thickness.
        softness: Span of the mask from no ink to full ink, at the edge of a stroke.
    """
    return ((mask - 1 + thickness.view(-1, 1, 1, 1)) / softness + 0.5).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, each image with its own width; the edges are repeated outwards.

    Args:
        images: Shape (n, channels, h, w).
        sigma: Standard deviations in pixels, positive, shape (n,).
    """
    radius = max(1, round(3 * float(sigma.max())))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-0.5 * (offsets / sigma.view(-1, 1)) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).view(len(images), -1, 1, 1, 1)
    for axis, margin in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        length = images.shape[axis]
        padded = pad(images, margin, mode="replicate")
        images = torch.zeros_like(images)
        for k in range(2 * radius + 1):
            images.addcmul_(padded.narrow(axis, k, length), taps[:, k])
    return images


def colours(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV to RGB, each of shape (n,) in [0, 1] (hues wrap around), as (n, 3, 1, 1)."""
    sector = torch.tensor([5.0, 3.0, 1.0])
    place = (sector + 6 * hue.view(-1, 1)) % 6
    drop = torch.minimum(place, 4 - place).clamp(0, 1)
    return (value.view(-1, 1) * (1 - saturation.view(-1, 1) * drop)).view(-1, 3, 1, 1)


def mix(background: Tensor, foreground: Tensor, opacity: Tensor) -> Tensor:
    """Lays the foreground over the background where the opacity is 1."""
    return background + opacity * (foreground - background)


def grain(images: Tensor, std: Tensor, generator: np.random.Generator) -> Tensor:
    """Adds independent Gaussian noise to every pixel; `std` has shape (n,)."""
    noise = generator.standard_normal(tuple(images.shape), dtype=np.float32)
    return images + std.view(-1, 1, 1, 1) * torch.from_numpy(noise)


def crops(
    photographs: Sequence[Tensor], n: int, size: int, generator: np.random.Generator
) -> Tensor:
    """Square crops at random places of random photographs.

    Args:
        photographs: Float32 of shape (3, height, width) each.
        n: How many crops.
        size: Height and width of the result; a crop covers 1 to 2 times as many pixels a side.
        generator: Source of the places.

    Returns:
        Shape (n, 3, size, size).
    """
    which = generator.integers(len(photographs), size=n)
    place = generator.random((n, 3)).astype(np.float32)
    result = torch.empty(n, 3, size, size)
    for index, photograph in enumerate(photographs):
        chosen = torch.from_numpy(np.flatnonzero(which == index))
        extent = torch.tensor([photograph.shape[2], photograph.shape[1]], dtype=torch.float32)
        x, y, zoom = torch.from_numpy(place[chosen.numpy()]).unbind(1)
        radius = torch.clamp((1 + zoom.view(-1, 1)) * size / extent, max=1.0)
        centre = (2 * torch.stack([x, y], 1) - 1) * (1 - radius)
        grid = centre.view(-1, 1, 1, 2) + radius.view(-1, 1, 1, 2) * identity(len(chosen), size)
        pages = photograph.expand(len(chosen), *photograph.shape)
        result[chosen] = look(pages, grid, outside="border")
    return result
