"""Conversion of decoded images to the scenario's channels and size."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from fedlab.errors import InputError

BATCH = 1000  # images resized at once: bounds the memory of the intermediate results
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R BT.601, as PIL's mode L


def conform(images: np.ndarray, channels: int, size: int) -> np.ndarray:
    """Resizes images and converts them to grey or colour.

    Sides are scaled independently (bilinear, antialiased). Grey is the luma of a colour; a grey
    image becomes a coloured one of three equal channels.

    Args:
        images: uint8 of shape (n, 1 or 3, height, width).
        channels: 1 or 3.
        size: New height and width.

    Returns:
        uint8 of shape (n, channels, size, size), C-contiguous.
    """
    conformed = np.empty((len(images), channels, size, size), np.uint8)
    for start in range(0, len(images), BATCH):
        batch = torch.tensor(images[start : start + BATCH])
        conformed[start : start + BATCH] = conform_batch(batch, channels, size).numpy()
    return conformed


def conform_batch(images: torch.Tensor, channels: int, size: int) -> torch.Tensor:
    """As `conform`, for images that fit into memory together, on any device.

    Raises:
        InputError: If larger images would become single pixels.
    """
    if channels == 1 and images.shape[1] == 3:
        luma = LUMA.to(images.device)
        images = (images * luma).sum(dim=1, keepdim=True).round().to(torch.uint8)
    if images.shape[2:] != (size, size):
        if size == 1:  # PyTorch ends such a resize of bytes with an assertion
            raise InputError(
                "data.image_size: images of a single pixel cannot be made of larger ones; use 2 or "
                "more, such as 16"
            )
        on_cpu = images.device.type == "cpu"  # GPUs have no kernel for bytes
        images = interpolate(
            images if on_cpu else images.float(),
            (size, size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        images = images if on_cpu else images.round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, channels, -1, -1)
