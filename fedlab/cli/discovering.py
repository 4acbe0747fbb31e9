"""The verb for a finished run whose clients know no class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fedlab
from fedlab.cli.app import app, out


@app.command(rich_help_panel="After training")
def discover(
    run: Annotated[Path, typer.Argument()],
    classes: Annotated[
        int | None, typer.Option(help="Classes to find; as many as the data have.", min=2)
    ] = None,
    cells: Annotated[
        int | None, typer.Option(help="Cells of k-means; three for each class.", min=2)
    ] = None,
    starts: Annotated[int, typer.Option(help="Starts of the factorisation.", min=1)] = 10,
    file: Annotated[Path | None, typer.Option("--out", help="All test samples as CSV.")] = None,
    priors: Annotated[Path | None, typer.Option(help="Shares of classes as CSV.")] = None,
) -> None:
    """Find classes among clients that know none, by what shifts together from client to client.

    [dim]fedlab discover runs/latent_label_shift-fedadam-s0 --out found.csv[/dim]
    """
    from fedlab.adaptation.discover import discover as find
    from fedlab.report.terminal.discovery_table import print_discovered

    found = find(fedlab.load_run(run), classes=classes, cells=cells, starts=starts)
    print_discovered(found, out, file, priors)
