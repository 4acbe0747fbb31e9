"""The verb that finds wrong labels: audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fedlab
from fedlab.cli.app import app, out, writable


@app.command(rich_help_panel="After training")
def audit(
    run: Annotated[Path, typer.Argument()],
    folds: Annotated[int, typer.Option(help="Parts of a client's samples.", min=2)] = 5,
    file: Annotated[
        Path | None, typer.Option("--out", help="All samples as CSV.", callback=writable)
    ] = None,
) -> None:
    """Find labels that are probably wrong among the clients of a finished run.

    [dim]fedlab audit runs/label_noise-fedavg-s0 --out audit.csv[/dim]
    """
    from fedlab.adaptation.audit import audit as find_errors
    from fedlab.report.terminal.audit_table import print_audit

    found = find_errors(fedlab.load_run(run), folds=folds)
    print_audit(found, out, file)
