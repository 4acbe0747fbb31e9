"""Verbs for a finished run: personalise, calibrate, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fedlab
from fedlab.cli.app import app, out


@app.command("personalize", hidden=True)
@app.command(rich_help_panel="After training")
def personalise(
    run: Annotated[Path, typer.Argument()],
    method: Annotated[
        str, typer.Option(help="fine_tune (all layers), lp_ft (the head first) or head (it alone).")
    ] = "lp_ft",
    shots: Annotated[int, typer.Option(help="Labelled samples per class.", min=1)] = 5,
    steps: Annotated[int, typer.Option(help="Optimiser steps of each stage.", min=1)] = 100,
    lr: Annotated[float, typer.Option(help="Learning rate (Adam) of all layers.")] = 1e-4,
    head_lr: Annotated[float, typer.Option(help="Learning rate of the head alone.")] = 1e-3,
    domain: Annotated[
        str | None, typer.Option(help="The global model to this domain, instead.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Table as CSV.")] = None,
) -> None:
    """Fine-tune a finished run's model for every client, with few labels, and test it.

    [dim]fedlab personalise runs/domain_skew-fedavg-s0 --shots 10
    fedlab personalise runs/leave_one_domain_out-fedwon-s0 --domain street[/dim]
    """
    from fedlab.adaptation.personalise import check_method
    from fedlab.adaptation.personalise import personalise as fine_tune
    from fedlab.report.terminal.tables import print_table

    table = fine_tune(
        fedlab.load_run(run),
        method=check_method(method),
        shots=shots,
        steps=steps,
        lr=lr,
        head_lr=head_lr,
        domain=domain,
    )
    print_table(table, out, file)


@app.command(rich_help_panel="After training")
def calibrate(
    run: Annotated[Path, typer.Argument()],
    per_class: Annotated[int, typer.Option(help="Features drawn of each class.", min=1)] = 500,
    steps: Annotated[int, typer.Option(help="Steps of the last layer.", min=1)] = 500,
    lr: Annotated[float, typer.Option(help="Their learning rate (SGD, momentum 0.9).")] = 0.01,
    file: Annotated[Path | None, typer.Option("--out", help="Table as CSV.")] = None,
) -> None:
    """Train a finished run's last layer anew, on features drawn like those of all clients.

    [dim]fedlab calibrate runs/domain_and_label_skew-fedavg-s0 --per-class 1000[/dim]
    """
    from fedlab.adaptation.calibrate import calibrate as calibrated
    from fedlab.report.terminal.tables import print_table
    from fedlab.report.units import size

    found = calibrated(fedlab.load_run(run), per_class=per_class, steps=steps, lr=lr)
    print_table(found.table, out, file)
    out.print(f"[dim]A client sends at most {size(found.bytes_up)} of moments, once.[/dim]")


@app.command(rich_help_panel="After training")
def audit(
    run: Annotated[Path, typer.Argument()],
    folds: Annotated[int, typer.Option(help="Parts of a client's samples.", min=2)] = 5,
    file: Annotated[Path | None, typer.Option("--out", help="All samples as CSV.")] = None,
) -> None:
    """Find labels that are probably wrong among the clients of a finished run.

    [dim]fedlab audit runs/label_noise-fedavg-s0 --out audit.csv[/dim]
    """
    from fedlab.adaptation.audit import audit as find_errors
    from fedlab.report.terminal.audit_table import print_audit

    found = find_errors(fedlab.load_run(run), folds=folds)
    print_audit(found, out, file)
