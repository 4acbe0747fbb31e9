"""The source material of the generated digits: handwriting, photographs and fonts on this disk.

Nothing is downloaded: scikit-learn brings 1,797 real handwritten digits (the test set of "Optical
Recognition of Handwritten Digits", Alpaydin and Kaynak, UCI, 1998) and two photographs;
matplotlib brings its fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedlab.errors import InputError
from fedlab.version import version_of

# Named, not discovered: the data must not change with the fonts that a later matplotlib adds.
# Whole families are held out, since the styles of one family share the shapes of its digits.
TRAIN_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSans-Oblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSansMono-Oblique", "STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta"),
    *("STIXGeneralItalic", "cmb10", "cmr10", "cmti10"),
)
TEST_FONTS = (
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "DejaVuSerif-Italic"),
    *("cmss10", "cmtt10"),
)

GLYPH_SIZE = 64


@dataclass(frozen=True)
class Material:
    """The source material of one domain and split, used by no other.

    Attributes:
        handwriting: Handwritten digits in [0, 1], float32 of shape (m, 8, 8).
        handwriting_labels: Their digits, int64 of shape (m,).
        glyphs: Digits of fonts in [0, 1], float32 of shape (fonts, 10, 64, 64).
        photographs: Parts of photographs in [0, 1], float32 of shape (3, height, width) each.
    """

    handwriting: Tensor
    handwriting_labels: np.ndarray
    glyphs: Tensor
    photographs: Sequence[Tensor]


@cache
def handwriting() -> tuple[Tensor, np.ndarray]:
    """All handwritten digits, float32 of shape (1797, 8, 8) in [0, 1], and their labels.

    Raises:
        InputError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _missing("scikit-learn") from error
    images, labels = load_digits(return_X_y=True)
    strokes = torch.from_numpy(np.asarray(images).reshape(-1, 8, 8) / 16).float()
    return strokes, np.asarray(labels, np.int64)


@cache
def photographs() -> tuple[Tensor, ...]:
    """The two photographs, float32 of shape (3, 427, 640) in [0, 1].

    Raises:
        InputError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise _missing("scikit-learn") from error
    images = load_sample_images().images
    return tuple(torch.tensor(image).permute(2, 0, 1).float() / 255 for image in images)


@cache
def glyphs(fonts: tuple[str, ...]) -> Tensor:
    """The ten digits of each font, centred and equally high.

    Their edges are blurred by 1.5 pixels, for `fedlab.data.embedded.paint.ink` to cut a lighter or
    bolder stroke from.

    Args:
        fonts: Names of font files of matplotlib, without ``.ttf``.

    Returns:
        Ink in [0, 1], float32 of shape (fonts, 10, 64, 64); a digit is 48 pixels high.

    Raises:
        InputError: If matplotlib, or one of the fonts, is not installed.
    """
    try:
        import matplotlib
        from PIL import Image, ImageDraw, ImageFilter, ImageFont
    except ImportError as error:
        raise _missing("matplotlib") from error
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    bank = np.zeros((len(fonts), 10, GLYPH_SIZE, GLYPH_SIZE), np.float32)
    for row, name in enumerate(fonts):
        try:
            font = ImageFont.truetype(folder / f"{name}.ttf", 2 * GLYPH_SIZE)
        except OSError as error:
            raise _missing(f"matplotlib's font {folder / name}.ttf") from error
        for digit in range(10):
            sheet = Image.new("L", (4 * GLYPH_SIZE, 4 * GLYPH_SIZE))
            ImageDraw.Draw(sheet).text((GLYPH_SIZE, GLYPH_SIZE), str(digit), 255, font)
            ink = sheet.crop(sheet.getbbox())
            scale = 48 / ink.height
            ink = ink.resize((min(60, round(ink.width * scale)), 48), Image.Resampling.BOX)
            glyph = Image.new("L", (GLYPH_SIZE, GLYPH_SIZE))
            glyph.paste(ink, ((GLYPH_SIZE - ink.width) // 2, (GLYPH_SIZE - ink.height) // 2))
            bank[row, digit] = np.asarray(glyph.filter(ImageFilter.GaussianBlur(1.5))) / 255
    return torch.from_numpy(bank)


def versions() -> dict[str, str]:
    """Versions of the libraries that bring or paint the images.

    Raises:
        InputError: If one of them is not installed.
    """
    found = dict[str, str]()
    for name in ("scikit-learn", "matplotlib", "pillow", "numpy", "torch"):
        version = version_of(name)
        if version is None:
            raise _missing(name)
        found[name] = version
    return found


def _missing(what: str) -> InputError:
    return InputError(
        f"the embedded digits need {what}, which is not installed; "
        "run: pip install 'fedlab-sim[sim]'"
    )
