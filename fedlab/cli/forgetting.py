"""The verb that takes a client out of a trained model: forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

import fedlab
from fedlab.cli.app import app, out, writable


@app.command(rich_help_panel="After training")
def forget(
    run: Annotated[Path, typer.Argument()],
    client: Annotated[int, typer.Option(help="The client that is forgotten.")],
    samples: Annotated[
        str | None,
        typer.Option(
            help="Some of its training samples alone: a share (0.2), indices into the training "
            "pool (12,40), or a class (class=seven)."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="projected_ascent (up the client's loss), label_agnostic (features that no "
            "longer look like the client's) or retrain (without the client, from the start)."
        ),
    ] = "projected_ascent",
    recovery_rounds: Annotated[
        int | None, typer.Option(help="Rounds of the remaining clients afterwards; 2.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the client's samples: projected_ascent 5, label_agnostic 20."
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="projected_ascent: learning rate (SGD, momentum 0.9); 0.01."),
    ] = None,
    clip: Annotated[
        float | None, typer.Option(help="projected_ascent: largest norm of a gradient; 5.")
    ] = None,
    radius_share: Annotated[
        float | None,
        typer.Option(
            help="projected_ascent: squared radius of the ball as a share of the mean squared "
            "distance from random networks; 1/3."
        ),
    ] = None,
    stop_distance: Annotated[
        float | None,
        typer.Option(
            help="projected_ascent: squared distance from the client's last local model at which "
            "ascent ends; without, it goes on to the last epoch."
        ),
    ] = None,
    extraction_lr: Annotated[
        float | None, typer.Option(help="label_agnostic: learning rate (Adam) of extraction; 5e-5.")
    ] = None,
    alignment_lr: Annotated[
        float | None, typer.Option(help="label_agnostic: learning rate of alignment; 1e-4.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="label_agnostic: temperature of alignment; 5.")
    ] = None,
    against_retraining: Annotated[
        bool, typer.Option("--against-retraining", help="Retrain, too, and compare.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new run; RUN-without-CLIENT.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="All numbers as CSV.", callback=writable)
    ] = None,
) -> None:
    """Make a run whose model has forgotten a client, and test what it still knows of the client.

    [dim]fedlab forget runs/forget-fedavg-s0 --client 3
    fedlab forget runs/forget-fedavg-s0 --client 3 --method label_agnostic --out runs/laf
    fedlab forget runs/forget-fedavg-s0 --client 3 --against-retraining --table forgotten.csv[/dim]
    """
    from fedlab.adaptation.choice import one_of
    from fedlab.report.terminal.forgetting_table import print_forgetting
    from fedlab.report.terminal.tables import write_csv
    from fedlab.unlearning.forget import Method
    from fedlab.unlearning.forget import forget as forgotten

    found = forgotten(
        fedlab.load_run(run),
        client,
        samples=samples,
        method=one_of(method, get_args(Method), "--method"),
        recovery_rounds=recovery_rounds,
        against_retraining=against_retraining,
        out=folder,
        epochs=epochs,
        lr=lr,
        clip=clip,
        radius_share=radius_share,
        stop_distance=stop_distance,
        extraction_lr=extraction_lr,
        alignment_lr=alignment_lr,
        temperature=temperature,
    )
    print_forgetting(found.table, out)
    steps, travels = found.shares
    expected = "" if against_retraining or method == "retrain" else ", which was not done,"
    if method != "retrain":
        out.print(
            f"cost: [bold]{steps:.1%}[/bold] of the client steps of retraining{expected} and "
            f"{travels:.1%} of its traffic",
            soft_wrap=True,
        )
    for line in found.remarks:
        out.print(f"[dim]{line}[/dim]", soft_wrap=True)
    if table is not None:
        write_csv(found.table, table)
        out.print(f"table: [bold]{table}[/bold]", soft_wrap=True)
    out.print(f"run: [bold]{found.run.folder}[/bold]", soft_wrap=True)
