"""Writes a figure to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the file's ending (.png, .svg, .pdf) decides the format.

    Raises:
        InputError: If no picture can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the picture cannot be written to '{path}': {error}; choose another file, "
            "ending in .png, .svg or .pdf"
        ) from error
