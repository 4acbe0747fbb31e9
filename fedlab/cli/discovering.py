"""The verb for a finished run whose clients know no class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

import fedlab
from fedlab.cli.app import app, out, writable


@app.command(rich_help_panel="After training")
def discover(
    run: Annotated[Path, typer.Argument()],
    classes: Annotated[
        int | None, typer.Option(help="Classes to find; as many as the data have.", min=2)
    ] = None,
    cells: Annotated[
        int | None, typer.Option(help="Cells of k-means; 1.5 for each class.", min=2)
    ] = None,
    factors: Annotated[
        str, typer.Option(help="anchors (a cell of its own for each class) or nmf.")
    ] = "anchors",
    starts: Annotated[int | None, typer.Option(help="nmf: random starts; 10.", min=1)] = None,
    file: Annotated[
        Path | None, typer.Option("--out", help="All test samples as CSV.", callback=writable)
    ] = None,
    priors: Annotated[
        Path | None, typer.Option(help="Shares of classes as CSV.", callback=writable)
    ] = None,
) -> None:
    """Find classes among clients that know none, by what shifts together from client to client.

    [dim]fedlab discover runs/latent_label_shift-fedadam-s0 --out found.csv[/dim]
    """
    from fedlab.adaptation.choice import one_of
    from fedlab.adaptation.discover import Factorisation
    from fedlab.adaptation.discover import discover as find
    from fedlab.report.terminal.discovery_table import print_discovered

    chosen = one_of(factors, get_args(Factorisation), "--factors")
    loaded = fedlab.load_run(run)
    found = find(loaded, classes=classes, cells=cells, factors=chosen, starts=starts)
    print_discovered(found, out, file, priors)
