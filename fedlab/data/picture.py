"""One picture file as uint8 pixels: upright, in sRGB, opaque, scaled by its depth."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fedlab.data import colour, depth
from fedlab.data.picture_error import PictureError

# What Pillow only hands to another program, only names, or reads without the scale of its values.
NOT_READ = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FITS", "PDF", "PALM"}
SEVERAL_VIEWS = {"MPO", "PSD", "ICO", "ICNS", "CUR"}  # the first one is the picture itself

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Reading:
    """The settings by which the pictures of a source are read.

    Attributes:
        channels: 1 or 3.
        size: Height and width of the result.
        resize: ``squash`` or ``crop``.
        background: Colour that lies behind what is transparent, as (red, green, blue).
        value_range: The values that are black and white in pictures of more than 8 bits; None for
            what their depth says.
        frames: ``one`` refuses a file of several pictures, ``first`` takes its first.
        pixels: Pixels that a file may have.
    """

    channels: int
    size: int
    resize: Literal["squash", "crop"] = "squash"
    background: tuple[int, int, int] = (255, 255, 255)
    value_range: tuple[float, float] | None = None
    frames: Literal["one", "first"] = "one"
    pixels: int = 100_000_000


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 of shape (channels, size, size).
        remarks: What had to be decided for it, in words that go behind a number.
        reach: Share of its depth up to which the values of a picture of more than 8 bits go; None
            for others, and where the range was given.
    """

    pixels: np.ndarray
    remarks: tuple[str, ...] = ()
    reach: float | None = None


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the supported formats."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in NOT_READ)


@cache
def endings() -> frozenset[str]:
    """Endings of supported files, in lower case, each with its dot."""
    known = set(formats())
    return frozenset(e for e, name in Image.registered_extensions().items() if name in known)


@contextmanager
def decoding(pixels: int) -> Generator[None]:
    """Sets Pillow's limit on pixels, which is global to the process, for a block."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def read_picture(path: Path | bytes, reading: Reading) -> Picture:
    """Decodes one file; call it inside `decoding`.

    The orientation that the file states is applied, colours become those of sRGB by the file's
    profile or gamma, what is transparent is composed over the background, and values of more than
    8 bits are scaled by their depth.

    Args:
        path: An ordinary file, or the content of one.
        reading: How to read it.

    Raises:
        PictureError: If it cannot be decoded, or the meaning of its pixels is unknown.
    """
    try:
        file = BytesIO(path) if isinstance(path, bytes) else path
        with Image.open(file, formats=formats()) as image:
            _check_frame(image, reading)
            return _read(image, reading)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            "damaged, or of no format that Pillow reads; replace the file or remove it"
        ) from error
    except Exception as error:  # decoders raise anything on what is damaged
        said = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{said}; replace the file or remove it") from error


def _check_frame(image: Image.Image, reading: Reading) -> None:
    """Refuses too many pixels, and a file of several pictures."""
    width, height = image.size
    if width * height > reading.pixels:
        raise PictureError(
            f"{width} x {height} pixels are more than the {reading.pixels:,} that "
            "data.limits.pixels allows; set it to more if the picture is meant"
        )
    several = image.format not in SEVERAL_VIEWS and getattr(image, "is_animated", False)
    if several and reading.frames == "one":
        raise PictureError(
            "it holds several pictures, pages or frames; save the one that is meant, or set the "
            "source's frames: first"
        )


def _read(image: Image.Image, reading: Reading) -> Picture:
    upright = ImageOps.exif_transpose(image)
    if depth.is_deep(image):
        if "transparency" in image.info:
            raise PictureError(
                "it has more than 8 bits and a transparent value; save it without transparency"
            )
        values, reach = depth.shares(image, upright, reading.value_range)
        eight = np.rint(colour.decoded(values, image) * 255).astype(np.uint8)
        return Picture(_fitted(Image.fromarray(eight), reading), (), reach)
    flat, remarks = colour.opaque(*colour.standard(upright, image.format), reading.background)
    return Picture(_fitted(flat, reading), remarks)


def _fitted(image: Image.Image, reading: Reading) -> np.ndarray:
    """An RGB or grey picture with the requested channels and size."""
    image = image.convert("RGB" if reading.channels == 3 else "L")
    size = (reading.size, reading.size)
    if reading.resize == "crop":
        image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    else:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if reading.channels == 3 else pixels[None]
