"""Conversion of pictures to sRGB by their profile, gamma, palette and transparency."""

from __future__ import annotations

import io
import threading
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from fedlab.data.picture_error import PictureError

SRGB_GAMMA = 1 / 2.2
ALIKE = 0.02  # a stated gamma so near to that of sRGB changes no byte that counts
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
COMPOSED = "picture{s} transparent in part, composed over the source's background"
NO_PROFILE = "picture{s} in CMYK without a colour profile, whose colours are approximate"
ODD_PROFILE = "picture{s} with a colour profile that cannot be used, taken for sRGB"


def standard(image: Image.Image, format: str | None) -> tuple[Image.Image, list[str]]:
    """A picture of at most 8 bits a channel as L, RGB, LA or RGBA in sRGB, and remarks on it.

    An embedded profile is applied, else a PNG's stated gamma; without either, values are sRGB.

    Raises:
        PictureError: If its transparency is of a kind that Pillow does not read.
    """
    remarks: list[str] = []
    alpha = None
    if image.mode in ALPHA_MODES or "transparency" in image.info or _palette_alpha(image):
        if image.mode == "RGB" and max(image.info["transparency"]) > 255:
            raise PictureError(
                "it has 16 bits a channel and a transparent colour; save it with 8 bits, or "
                "without transparency"
            )
        whole = image.convert("RGBA")
        alpha, image = whole.getchannel("A"), _like(whole.convert("RGB"), image)
    elif image.mode not in ("L", "RGB", "CMYK"):
        if image.mode == "LAB":
            raise PictureError("it is in LAB; save it in RGB")
        image = _like(image.convert("L" if image.mode == "1" else "RGB"), image)
    profile = image.info.get("icc_profile")
    if profile:
        image, usable = _by_profile(image, profile)
        remarks += [] if usable else [ODD_PROFILE]
    elif image.mode == "CMYK":
        remarks.append(NO_PROFILE)
    elif (power := _power(image, format)) != 1:
        table = [round(255 * (value / 255) ** power) for value in range(256)]
        image = image.point(table * len(image.getbands()))
    if image.mode == "CMYK":
        image = image.convert("RGB")
    if alpha is not None:
        image = image.convert("RGB")
        image.putalpha(alpha)
    return image, remarks


def opaque(
    image: Image.Image, remarks: list[str], background: tuple[int, int, int]
) -> tuple[Image.Image, tuple[str, ...]]:
    """An L or RGB picture: transparent pixels are composed over a colour, with a remark."""
    if image.mode != "RGBA":
        return image, tuple(remarks)
    lowest, _ = image.getchannel("A").getextrema()
    below = Image.new("RGBA", image.size, (*background, 255))
    flat = Image.alpha_composite(below, image).convert("RGB")
    return flat, (*remarks, *([COMPOSED] if lowest != 255 else []))


def decoded(shares: np.ndarray, image: Image.Image) -> np.ndarray:
    """Shares of white of a grey picture, corrected by a PNG's gamma; with a profile unchanged."""
    power = _power(image, image.format)
    return shares if power == 1 or "icc_profile" in image.info else shares**power


def _palette_alpha(image: Image.Image) -> bool:
    return image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A")


def _like(image: Image.Image, original: Image.Image) -> Image.Image:
    """An image with another one's metadata, some of which conversions lose."""
    image.info = dict(original.info)
    return image


def _power(image: Image.Image, format: str | None) -> float:
    """The exponent that converts values of the file's gamma to sRGB."""
    gamma = image.info.get("gamma", 0)
    if format != "PNG" or "srgb" in image.info or gamma <= 0:
        return 1.0
    power = SRGB_GAMMA / gamma
    return 1.0 if abs(power - 1) <= ALIKE else power


def _by_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, bool]:
    """The image in sRGB, and whether its profile could be used."""
    try:
        transform = _transform(profile, image.mode, threading.get_ident())
        if transform is None:
            return image, True
        return ImageCms.applyTransform(image, transform) or image, True
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image, False


@lru_cache(maxsize=256)
def _transform(profile: bytes, mode: str, thread: int) -> ImageCms.ImageCmsTransform | None:
    """The conversion of a mode's colours from a profile to sRGB; None if they are in sRGB.

    A transform holds a cache that is not safe between threads, so that each thread makes its own.
    """
    source = ImageCms.getOpenProfile(io.BytesIO(profile))
    space = str(getattr(source.profile, "xcolor_space", "")).strip()
    title = ImageCms.getProfileDescription(source).lower()
    if (space, mode) == ("RGB", "RGB") and "srgb" in title and "linear" not in title:
        return None
    if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space) != mode:
        raise ValueError(f"a profile of {space} in a picture of mode {mode}")
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
