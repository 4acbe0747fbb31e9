"""Requirements of networks on the shape of a sample."""

from __future__ import annotations

from typing import Literal

from fedlab.data.sample_shape import ids_in
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
        raise _unsuited(model, "images (channels, height, width)", input_shape)
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise InputError(
            f"model '{model}' needs images of at least {smallest}x{smallest} pixels but the data "
            f"have {height}x{width}; raise data.image_size or choose a smaller network"
        )
    return channels, height, width


def series_shape(model: str, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Checks that samples are series.

    Args:
        model: The network's registered name, for the message.
        input_shape: Shape of one sample.

    Returns:
        (channels, length).

    Raises:
        InputError: If samples are anything else.
    """
    if len(input_shape) != 2:
        raise _unsuited(model, "series (channels, length)", input_shape)
    return input_shape[0], input_shape[1]


def volume_shape(
    model: str, input_shape: tuple[int, ...], smallest: int = 1
) -> tuple[int, int, int, int]:
    """Checks that samples are volumes of a sufficient size.

    Args:
        model: The network's registered name, for the message.
        input_shape: Shape of one sample.
        smallest: Least depth, height and width.

    Returns:
        (channels, depth, height, width).

    Raises:
        InputError: If samples are anything else, or too small.
    """
    if len(input_shape) != 4:
        raise _unsuited(model, "volumes (channels, depth, height, width)", input_shape)
    channels, depth, height, width = input_shape
    if min(depth, height, width) < smallest:
        raise InputError(
            f"model '{model}' needs volumes of at least {smallest}x{smallest}x{smallest} but the "
            f"data have {depth}x{height}x{width}; save larger ones or choose 'linear' or 'mlp'"
        )
    return channels, depth, height, width


def known_ids(model: str, input_shape: tuple[int, ...]) -> tuple[int, int, int | None]:
    """Checks that samples are ids.

    Args:
        model: The network's registered name, for the message.
        input_shape: Shape of one sample.

    Returns:
        (length, size of the vocabulary, the id that fills up or None).

    Raises:
        InputError: If samples are anything else.
    """
    ids = ids_in(input_shape)
    if ids is None or ids.vocabulary is None:
        raise _unsuited(model, "ids (length)", input_shape)
    return input_shape[0], ids.vocabulary, ids.pad


def refuse_ids(model: str, input_shape: tuple[int, ...]) -> None:
    """Refuses ids, which a network would take for measurements.

    Raises:
        InputError: If samples are ids.
    """
    if ids_in(input_shape) is not None:
        raise _unsuited(model, "numbers", input_shape)


def _unsuited(model: str, takes: str, input_shape: tuple[int, ...]) -> InputError:
    """An error that names networks for samples of a shape."""
    if ids_in(input_shape) is not None:
        return InputError(
            f"model '{model}' takes {takes} but the data have samples of {input_shape[0]} ids; "
            "choose 'transformer', 'gru', 'lstm', 'text_cnn' or 'text_mean', or say "
            "data.inputs=numbers if the whole numbers are measurements"
        )
    suited = {
        2: "'cnn1d', 'gru', 'lstm' or 'transformer', or ",
        3: "'small_cnn' or another network of images, or ",
        4: "'cnn3d', or ",
    }.get(len(input_shape), "")
    whole = " (where they are ids, say data.inputs=ids)" if takes.startswith("ids") else ""
    return InputError(
        f"model '{model}' takes {takes} but the data have samples of shape {tuple(input_shape)}"
        f"{whole}; choose {suited}'linear' or 'mlp', which take any shape"
    )


def stem_for(stem: Stem | None, height: int, width: int) -> Stem:
    """The given stem, or the default for images of `height` x `width` pixels."""
    return stem or ("cifar" if max(height, width) <= LARGEST_CIFAR_SIDE else "imagenet")
