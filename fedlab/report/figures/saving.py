"""Writes a figure to a file."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("fedlab")

SHOWN = 5
LACKING = re.compile(r"Glyph (\d+) .* missing from font")


USUAL = (".png", ".svg", ".pdf")


def refuse_format(path: Path, option: str) -> None:
    """Refuses a file of a format that no figure can have.

    Args:
        path: The file.
        option: What names it, for the error.

    Raises:
        InputError: If its ending is none of a picture, or it is a folder.
    """
    if path.is_dir():
        raise InputError(f"{option}: '{path}' is a folder; name a file in it")
    if path.suffix in USUAL:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().lstrip(".") not in known:
        raise InputError(
            f"{option}: '{path}' does not end as a picture does; use .png, .svg or .pdf"
        )


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the file's ending (.png, .svg, .pdf) decides the format.

    Signs that the figure's font lacks (of names in other scripts, emoji) are drawn as boxes, and
    a line says so.

    Raises:
        InputError: If no picture can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Matplotlib warns of each sign with a path of this machine.
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", LACKING.pattern)
            figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the picture cannot be written to '{path}': {error}; choose another file, "
            "ending in .png, .svg or .pdf"
        ) from error
    found = [LACKING.match(str(each.message)) for each in caught]
    for each, match in zip(caught, found, strict=True):
        if match is None:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    signs = dict.fromkeys(chr(int(match.group(1))) for match in found if match)
    if signs:
        shown = " ".join(list(signs)[:SHOWN]) + " …" * (len(signs) > SHOWN)
        log.warning("%s", f"'{path}': the font lacks {shown}: drawn as boxes")
