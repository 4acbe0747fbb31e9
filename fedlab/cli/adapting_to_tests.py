"""The verb that adapts a finished run's model to test samples: adapt-test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

import fedlab
from fedlab.cli.app import TableFile, app, drawable, err, out, writable, write_table
from fedlab.errors import InputError


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
            help="label_shift, label_shift_adapter: make probabilities right on validation samples "
            "first; for em where there are any, else not."
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
        Path | None,
        typer.Option(help="Before and after as a picture (.png, .pdf, .svg).", callback=drawable),
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
        write_table(found.priors, priors, "priors")
    if found.untouched:
        out.print(
            f"[yellow]tent: {', '.join(found.untouched)}: all samples are one batch, which is "
            "scored before its only step, so that entropy changed no prediction; use a smaller "
            f"--batch-size{' or --steps 2' * (chosen == 'tent')}[/yellow]",
            soft_wrap=True,
        )
    write_table(found.table, file)
    if picture is not None:
        from fedlab.report.figures.adaptation_figure import adaptation_figure
        from fedlab.report.figures.saving import save

        save(adaptation_figure(found, loaded.metric_set.first), picture)
        out.print(f"picture: [bold]{picture}[/bold]", soft_wrap=True)
