"""A contact sheet of a scenario's images: some of every domain and class.

``python -m fedlab.report.figures.contact_sheet digits -o digits.png`` shows a source with its
defaults, ``python -m fedlab.report.figures.contact_sheet my_scenario.yaml -o data.png`` the data of
a scenario.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from fedlab.config import registry
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.errors import FedlabError, InputError
from fedlab.report.units import short
from fedlab.scenario_file import load_scenario

TILE = 56  # smallest side at which an image is shown, in pixels
GAP = 2
MARGIN = 12
HEADER = 30
LONGEST_NAME = 16


def contact_sheet(data: FederatedData, per_class: int = 3, classes: int = 10) -> Image.Image:
    """Draws a band of test images for each domain, a column for each class.

    Args:
        data: Pooled images.
        per_class: Images of each class and domain, one below the other.
        classes: How many classes to show, from the first on.

    Returns:
        An RGB picture; a domain without enough images of a class leaves tiles empty.

    Raises:
        InputError: If the samples are not images.
    """
    if data.test.inputs.dtype != np.uint8:
        raise InputError(
            "a contact sheet shows images, but these samples are tables of features; "
            "choose a scenario whose sources yield images"
        )
    zoom = max(1, -(-TILE // data.input_shape[-1]))
    side = zoom * data.input_shape[-1] + GAP
    shown, strata = data.strata_names[:classes], data.strata(data.test)
    band = per_class * side + 4 * GAP
    font = ImageFont.load_default(15)
    names = [short(name, LONGEST_NAME) for name in data.domain_names]
    left = 2 * MARGIN + round(max(font.getlength(name) for name in names))
    size = (left + len(shown) * side + MARGIN, HEADER + len(names) * band)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(shown):
        middle = (left + column * side + side // 2, HEADER // 2)
        draw.text(middle, short(name, side // 8), "black", font, anchor="mm")
    for row, name in enumerate(names):
        top = HEADER + row * band
        draw.text((left - MARGIN, top + per_class * side // 2), name, "black", font, anchor="rm")
        for column in range(len(shown)):
            chosen = (data.test.domains == row) & (strata == column)
            for place, index in enumerate(np.flatnonzero(chosen)[:per_class]):
                tile = _picture(data.test.inputs[index])
                tile = tile.resize((side - GAP, side - GAP), Image.Resampling.NEAREST)
                sheet.paste(tile, (left + column * side, top + place * side))
    return sheet


def _picture(image: np.ndarray) -> Image.Image:
    """A (1 or 3, height, width) uint8 image as RGB."""
    rgb = np.broadcast_to(image, (3, *image.shape[1:]))
    return Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))


def main(
    what: Annotated[str, typer.Argument(help="Name of a source or scenario, or a YAML file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")],
    per_class: Annotated[int, typer.Option(min=1, help="Images of each class and domain.")] = 3,
) -> None:
    """Draws images of every domain and class of a source or of a scenario's data."""
    try:
        if what in registry.names("sources"):
            spec = DataSpec.model_validate({"sources": [what]})
        else:
            spec = load_scenario(what).data
        contact_sheet(load_data(spec), per_class).save(output)
    except FedlabError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


if __name__ == "__main__":
    typer.run(main)
