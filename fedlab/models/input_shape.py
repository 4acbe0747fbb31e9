"""Requirements of networks on the shape of a sample."""

from __future__ import annotations

from typing import Literal

from fedlab.errors import InputError

Stem = Literal["imagenet", "cifar"]

LARGEST_CIFAR_SIDE = 64
"""Largest side, in pixels, for which ImageNet networks keep the resolution in their stem."""


def image_shape(
    model: str, input_shape: tuple[int, ...], smallest: int = 1
) -> tuple[int, int, int]:
    """Checks that samples are images of a sufficient size.

    Args:
        model: The network's registered name, for the message.
        input_shape: Shape of one sample.
        smallest: Least height and width in pixels.

    Returns:
        (channels, height, width).

    Raises:
        InputError: If samples are not images or too small.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"model '{model}' takes images (channels, height, width) but the data have samples of "
            f"shape {input_shape}; choose 'linear' or 'mlp', which take any shape"
        )
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise InputError(
            f"model '{model}' needs images of at least {smallest}x{smallest} pixels but the data "
            f"have {height}x{width}; raise data.image_size or choose a smaller network"
        )
    return channels, height, width


def stem_for(stem: Stem | None, height: int, width: int) -> Stem:
    """The given stem, or the default for images of `height` x `width` pixels."""
    return stem or ("cifar" if max(height, width) <= LARGEST_CIFAR_SIDE else "imagenet")
