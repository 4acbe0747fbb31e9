"""The base of sources of picture files, which decodes many of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
from PIL import ImageColor
from pydantic import FiniteFloat, field_validator

from fedlab.data.image_source import ImageSource
from fedlab.data.picture import Picture, Reading, decoding, read_picture
from fedlab.data.picture_error import PictureError
from fedlab.data.remarks import counted
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

BLACK = 1 / 255  # deep pictures that reach no further are black when they are bytes
NARROW = 1 / 4  # and those that reach no further are dark


class PictureSource(ImageSource):
    """A source of picture files.

    Attributes:
        resize: ``squash`` scales both sides on their own; ``crop`` keeps the proportions and cuts
            off what is beyond the central square.
        background: Colour behind what is transparent: a name or ``#rrggbb``.
        value_range: The values that are black and white in grey pictures of more than 8 bits, such
            as ``[0, 4095]``; by default 0 and what their depth allows, for floats 0 and 1.
        frames: ``one`` refuses files of several pictures (pages, animations); ``first`` takes the
            first of each.
    """

    resize: Literal["squash", "crop"] = "squash"
    background: str = "white"
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None
    frames: Literal["one", "first"] = "one"

    @field_validator("background")
    @classmethod
    def _a_colour(cls, background: str) -> str:
        try:
            ImageColor.getrgb(background)
        except ValueError as error:
            raise ValueError(
                f"'{background}' is no colour; write a name such as white, or #rrggbb"
            ) from error
        return background

    @field_validator("value_range")
    @classmethod
    def _black_is_not_white(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        if span is not None and span[0] == span[1]:
            raise ValueError(f"{list(span)} is no range; give the values of black and of white")
        return span

    def recipe(self) -> dict[str, Any]:
        """The parameters, and the version of Pillow, whose decoders may change."""
        return {**super().recipe(), "pillow": PIL.__version__}

    def decoded(
        self,
        pictures: Sequence[Path | bytes],
        called: Callable[[int], str],
        context: LoadContext,
        where: str,
    ) -> tuple[np.ndarray, list[Picture]]:
        """Decodes pictures in threads.

        Args:
            pictures: The file of each, or its content.
            called: What the picture of an index is called in errors.
            context: What the images are brought to.
            where: What all of them are, for the error if they are too many.

        Returns:
            Images uint8 (n, channels, size, size), and what was read, bare of pixels.

        Raises:
            InputError: If one cannot be decoded, or all take more memory than is allowed.
        """
        shape = (len(pictures), context.channels, context.image_size, context.image_size)
        context.limits.check_array(shape, 1, where)
        images = np.empty(shape, np.uint8)
        reading = Reading(
            context.channels,
            context.image_size,
            self.resize,
            ImageColor.getrgb(self.background)[:3],
            self.value_range,
            self.frames,
            context.limits.pixels,
        )

        def decode(index: int) -> Picture:
            picture = _read(pictures[index], called(index), reading, context)
            images[index] = picture.pixels
            return Picture(np.empty(0), picture.remarks, picture.reach)

        with decoding(reading.pixels), ThreadPoolExecutor(os.cpu_count()) as threads:
            bare = list(threads.map(decode, range(len(pictures))))  # a thread's error is raised
        return images, bare


def _read(picture: Path | bytes, called: str, reading: Reading, context: LoadContext) -> Picture:
    if isinstance(picture, Path):
        context.limits.check_file(picture, called)
    try:
        return read_picture(picture, reading)
    except PictureError as error:
        said, _, remedy = str(error).rpartition("; ")
        raise InputError(f"{called} cannot be decoded ({said}); {remedy}") from error


def picture_remarks(pictures: Sequence[Picture], where: str) -> list[str]:
    """Remarks on decisions about a domain's pictures, each with the number of pictures.

    Raises:
        InputError: If all of them would be black.
    """
    counts = Counter(remark for picture in pictures for remark in picture.remarks)
    remarks = [f"{where}: {counted({what: count})}" for what, count in counts.items()]
    reach = max((picture.reach for picture in pictures if picture.reach is not None), default=1.0)
    remedy = "say with the source's value_range which values are black and white, e.g. [0, 4095]"
    if 0 < reach < BLACK:
        raise InputError(
            f"{where} would be black: its pictures of more than 8 bits use {reach:.2%} of the "
            f"values that their depth allows; {remedy}"
        )
    if BLACK <= reach < NARROW:
        remarks.append(
            f"{where} is dark: its pictures of more than 8 bits use the lowest {reach:.1%} of the "
            f"values that their depth allows; if that is not meant, {remedy}"
        )
    return remarks
