"""Verbs for a finished run: personalise, calibrate, adapt-test, audit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

import fedlab
from fedlab.cli.app import TableFile, app, err, out, writable
from fedlab.errors import InputError

if TYPE_CHECKING:
    import pandas


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
        typer.Option(help="temperature: reliability diagram (.png, .pdf, .svg)."),
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
    _write_table(found.table, file)
    if picture is not None:
        from fedlab.report.figures.reliability_figure import reliability_figure
        from fedlab.report.figures.saving import save

        panels = {"before": found.bins[0], "after": found.bins[1]}
        save(reliability_figure(panels, f"{run.scenario.name}, all test samples"), picture)
        out.print(f"picture: [bold]{picture}[/bold]", soft_wrap=True)


@app.command(rich_help_panel="After training")
def adapt_test(
    run: Annotated[Path, typer.Argument()],
    method: Annotated[
        str,
        typer.Option(
            help="batch_statistics (of the test samples, in batch normalisation), tent (entropy "
            "minimisation), label_shift (predictions weighted by the class prior) or "
            "label_shift_adapter (a last layer that follows it)."
        ),
    ] = "batch_statistics",
    alpha: Annotated[
        float | None,
        typer.Option(help="batch_statistics: share of the test samples' statistics; 1."),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="tent, or training of the adapter: learning rate (Adam); 0.001."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="tent: steps per batch; 1.", min=1)] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Test samples per batch, 0 for the whole domain; 0 for batch_statistics, 64 for "
            "tent and label_shift_adapter.",
            min=0,
        ),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            help="Of the prior, bbse, rlls or em, for label_shift (bbse) and label_shift_adapter, "
            "which also has ema (a moving average of predictions; the default)."
        ),
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            help="label_shift: make probabilities right on validation samples first; for em where "
            "there are any, else not."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="label_shift_adapter: what else adapts the network, batch_statistics or tent; "
            "none by default."
        ),
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="label_shift_adapter: share of the prior before a batch in ema; 0.8."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="label_shift_adapter: rounds of clients that train it; 20.", min=1),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="label_shift_adapter: a client's passes in a round; 1.", min=1),
    ] = None,
    hidden: Annotated[
        int | None,
        typer.Option(help="label_shift_adapter: size of its hidden layer; 32.", min=1),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Order of test samples, and the adapter's training.")
    ] = 0,
    domain: Annotated[str | None, typer.Option(help="Test samples of this domain alone.")] = None,
    file: TableFile = None,
    priors: Annotated[
        Path | None,
        typer.Option(
            help="label_shift, label_shift_adapter: class priors as CSV.", callback=writable
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Before and after as a picture (.png, .pdf, .svg).")
    ] = None,
) -> None:
    """Adapt a finished run's model to the test samples of each domain, without their labels.

    [dim]fedlab adapt-test runs/leave_one_domain_out-fedavg-s0 --alpha 0.8
    fedlab adapt-test runs/leave_one_domain_out-fedavg-s0 --method tent --domain street
    fedlab adapt-test runs/label_skew-fedavg-s0 --method label_shift --picture priors.png
    fedlab adapt-test runs/label_skew-fedavg-s0 --method label_shift_adapter --rounds 50[/dim]
    """
    from fedlab.adaptation.adapt_test import Method
    from fedlab.adaptation.adapt_test import adapt_test as adapt
    from fedlab.adaptation.choice import one_of
    from fedlab.report.terminal.adaptation_tables import print_before_and_after, print_priors
    from fedlab.report.terminal.counting import counting

    loaded, chosen = fedlab.load_run(run), one_of(method, get_args(Method), "--method")
    if priors is not None and not chosen.startswith("label_shift"):
        raise InputError("--priors: they are of --method label_shift; leave it out, or choose that")
    with counting(err, "domains") as progress:
        found = adapt(
            loaded,
            method=chosen,
            domain=domain,
            seed=seed,
            progress=progress,
            alpha=alpha,
            lr=lr,
            steps=steps,
            batch_size=batch_size,
            estimator=estimator,
            calibrate=calibrate,
            base=base,
            momentum=momentum,
            rounds=rounds,
            epochs=epochs,
            hidden=hidden,
        )
    print_before_and_after(found.table, list(loaded.metric_set.scores), out)
    if found.priors is not None:
        print_priors(found.priors, out)
        what = "adapter" if chosen == "label_shift_adapter" else "source statistics"
        out.print(f"[dim]{what}: {found.source}[/dim]", soft_wrap=True)
        _write_table(found.priors, priors, "priors")
    _write_table(found.table, file)
    if picture is not None:
        from fedlab.report.figures.adaptation_figure import adaptation_figure
        from fedlab.report.figures.saving import save

        save(adaptation_figure(found, loaded.metric_set.first), picture)
        out.print(f"picture: [bold]{picture}[/bold]", soft_wrap=True)


def _write_table(table: pandas.DataFrame, file: Path | None, what: str = "table") -> None:
    from fedlab.report.terminal.tables import write_csv

    if file is not None:
        write_csv(table, file)
        out.print(f"{what}: [bold]{file}[/bold]", soft_wrap=True)


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
