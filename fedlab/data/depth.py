"""Grey pictures of more than 8 bits: the values of black and white."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fedlab.data.picture_error import PictureError

BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
WHITE_IS_ZERO, SIGNED = 0, 2
REMEDY = "set the source's value_range to the values that are black and white, e.g. [0, 4095]"


def is_deep(image: Image.Image) -> bool:
    """Whether the values of a picture have more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def shares(
    image: Image.Image, upright: Image.Image, value_range: tuple[float, float] | None
) -> tuple[np.ndarray, float | None]:
    """The brightness of every pixel as a share of white.

    Without a range given, integers are black at 0 and white at the largest that their depth allows,
    and floats at 0 and 1. What lies outside a given range is cut to its ends, as by a window.

    Args:
        image: The picture as it was opened; it knows its format.
        upright: The same, turned as the file says; its values are read.
        value_range: Values of black and white.

    Returns:
        float64 in 0 to 1, of shape (height, width), and the largest share of the depth; None
        where the range was given.

    Raises:
        PictureError: If the depth is not known, or values lie outside of what it means.
    """
    values = np.asarray(upright)
    signed = False
    if image.mode == "F":
        white = 1.0
    else:
        bits, signed = _depth(image, value_range is not None)
        if bits == 32 and not signed:
            values = values.astype(np.int32).view(np.uint32)  # Pillow holds them as signed
        white = float(2 ** (bits - signed) - 1)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise PictureError("it holds values that are no finite numbers; replace them")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    black = 0.0
    if value_range is not None:
        black, white = value_range
    elif low < 0 or high > white:
        raise PictureError(
            f"its values go from {low:g} to {high:g}, and of "
            f"{'floats' if image.mode == 'F' else 'signed integers'} it is not known which are "
            f"black and white; {REMEDY}"
        )
    scaled = np.clip((values - black) / (white - black), 0, 1)
    if _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 1 - scaled
    return scaled, None if value_range is not None else high / white


def _depth(image: Image.Image, any_will_do: bool) -> tuple[int, bool]:
    """Bits of a value, and whether one of them is a sign."""
    if image.format == "TIFF":
        bits = _tag(image, BITS)
        return bits or 16, _tag(image, SAMPLE_FORMAT) == SIGNED
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        return 16, False  # Pillow scales a PPM of any other largest value to 16 bits
    if any_will_do:
        return 32, True
    raise PictureError(f"the depth of its values is not known; {REMEDY}")


def _tag(image: Image.Image, tag: int) -> int | None:
    """The (first) number of a TIFF file's tag."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value
