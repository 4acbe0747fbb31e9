"""Verbs for a finished run: personalise, calibrate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

import fedlab
from fedlab.cli.app import TableFile, app, drawable, out, write_table
from fedlab.errors import InputError


class CalibrationMethod(StrEnum):
    """How a model is calibrated."""

    ccvr = "ccvr"
    temperature = "temperature"


@app.command("personalize", hidden=True)
@app.command(rich_help_panel="After training")
def personalise(
    run: Annotated[Path, typer.Argument()],
    method: Annotated[
        str, typer.Option(help="fine_tune (all layers), lp_ft (the head first) or head (it alone).")
    ] = "lp_ft",
    shots: Annotated[int, typer.Option(help="Labelled samples per class.", min=1)] = 5,
    steps: Annotated[int, typer.Option(help="Optimiser steps of each stage.", min=1)] = 100,
    lr: Annotated[float | None, typer.Option(help="Learning rate of all layers; 1e-4.")] = None,
    head_lr: Annotated[
        float | None, typer.Option(help="Learning rate of the head alone; 1e-3.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="The global model to this domain, instead.")
    ] = None,
    file: TableFile = None,
) -> None:
    """Fine-tune a finished run's model for every client, with few labels, and test it.

    [dim]fedlab personalise runs/domain_skew-fedavg-s0 --shots 10
    fedlab personalise runs/leave_one_domain_out-fedwon-s0 --domain street[/dim]
    """
    from fedlab.adaptation.choice import one_of
    from fedlab.adaptation.personalise import Method
    from fedlab.adaptation.personalise import personalise as fine_tune
    from fedlab.report.terminal.tables import print_table

    chosen = one_of(method, get_args(Method), "--method")
    rates = {"lr": lr, "head_lr": head_lr}
    given: dict[str, Any] = {name: rate for name, rate in rates.items() if rate is not None}
    unused = {"head": "lr", "fine_tune": "head_lr"}.get(chosen)
    if unused in given:
        other = "fine_tune" if chosen == "head" else "head"
        raise InputError(
            f"--{unused.replace('_', '-')}: {chosen} has no such option, lp_ft and {other} have; "
            "leave it out"
        )
    table = fine_tune(
        fedlab.load_run(run), method=chosen, shots=shots, steps=steps, domain=domain, **given
    )
    print_table(table, out, file)


@app.command(rich_help_panel="After training")
def calibrate(
    run: Annotated[Path, typer.Argument()],
    method: Annotated[
        CalibrationMethod,
        typer.Option(help="ccvr (the last layer anew) or temperature (one number)."),
    ] = CalibrationMethod.ccvr,
    per_class: Annotated[
        int | None, typer.Option(help="ccvr: features drawn of each class; 500.", min=1)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="ccvr: steps of the last layer; 500.", min=1)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="ccvr: their learning rate (SGD, momentum 0.9); 0.01.")
    ] = None,
    file: TableFile = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="temperature: reliability diagram (.png, .pdf, .svg).", callback=drawable
        ),
    ] = None,
) -> None:
    """Train a finished run's last layer anew on drawn features, or make its model as sure as right.

    CCVR draws features like those of all clients. A temperature, which logits are divided by, is
    fitted on validation samples (evaluation.validation).

    [dim]fedlab calibrate runs/domain_and_label_skew-fedavg-s0 --per-class 1000
    fedlab calibrate runs/validated --method temperature --picture reliability.png[/dim]
    """
    drawing = {"per_class": per_class, "steps": steps, "lr": lr}
    stated = {name: value for name, value in drawing.items() if value is not None}
    loaded = fedlab.load_run(run)
    if method is CalibrationMethod.temperature:
        if stated:
            raise InputError(
                f"--{next(iter(stated)).replace('_', '-')}: --method temperature has no such "
                "option, ccvr has; leave it out"
            )
        _scale_by_temperature(loaded, file, picture)
        return
    if picture is not None:
        raise InputError("--picture: it is of --method temperature; leave it out, or choose that")
    from fedlab.adaptation.calibrate import calibrate as calibrated
    from fedlab.report.terminal.tables import print_table
    from fedlab.report.units import size

    found = calibrated(loaded, **stated)
    print_table(found.table, out, file)
    out.print(f"[dim]A client sends at most {size(found.bytes_up)} of moments, once.[/dim]")


def _scale_by_temperature(run: fedlab.Run, file: Path | None, picture: Path | None) -> None:
    from fedlab.adaptation.temperature import METRICS, temperature_scaling
    from fedlab.report.terminal.adaptation_tables import print_before_and_after

    found = temperature_scaling(run)
    print_before_and_after(found.table, [metric.title for metric in METRICS], out)
    out.print(
        f"temperature [bold]{found.temperature:.4g}[/bold], fitted on {found.samples:,} validation "
        "samples: divide logits by it"
    )
    out.print("[dim]The order of classes stays, and so does every prediction.[/dim]")
    write_table(found.table, file)
    if picture is not None:
        from fedlab.report.figures.reliability_figure import reliability_figure
        from fedlab.report.figures.saving import save

        panels = {"before": found.bins[0], "after": found.bins[1]}
        save(reliability_figure(panels, f"{run.scenario.name}, all test samples"), picture)
        out.print(f"picture: [bold]{picture}[/bold]", soft_wrap=True)
