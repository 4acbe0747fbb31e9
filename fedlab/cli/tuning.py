"""The verb that tunes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fedlab.cli.app import Changing, Overrides, Source, app, err, out, writable
from fedlab.cli.comparing import TableFormat, show


class SamplerChoice(StrEnum):
    """Where the values of draws come from."""

    random = "random"
    tpe = "tpe"
    gp = "gp"
    cmaes = "cmaes"
    qmc = "qmc"


class Select(StrEnum):
    """What chooses a draw."""

    validation = "validation"
    leave_one_domain_out = "leave_one_domain_out"
    oracle = "oracle"


@app.command(cls=Changing, rich_help_panel="Train")
def tune(
    scenario: Source,
    changes: Overrides = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategies", help="Methods, with commas between them."),
    ] = None,
    budget: Annotated[
        int, typer.Option(help="Draws for every method; the first is as it is.")
    ] = 20,
    seeds: Annotated[str, typer.Option(help="Of the comparison: how many, or which: 0,3,7.")] = "3",
    space: Annotated[
        Path | None,
        typer.Option(
            help="A file that says what is drawn; by default the learning rate, and what "
            "each method declares."
        ),
    ] = None,
    tuning_seeds: Annotated[int, typer.Option(help="Seeds of each draw.")] = 1,
    select: Annotated[
        Select,
        typer.Option(
            help="validation; leave_one_domain_out, by domains that no client trained on; or "
            "oracle, on test data, which is no result."
        ),
    ] = Select.validation,
    metric: Annotated[
        str | None, typer.Option(help="What is chosen by; the first of the metrics by default.")
    ] = None,
    halving: Annotated[
        bool,
        typer.Option("--halving", help="Give up the worse half after 1/4 and 1/2 of the rounds."),
    ] = False,
    sampler: Annotated[
        SamplerChoice,
        typer.Option(help="What proposes draws; all but random need the extra tune."),
    ] = SamplerChoice.random,
    before: Annotated[
        bool, typer.Option("--before", help="Compare with the scenario as it stands, too.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder, instead of one in runs/.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the tuned scenario (one for each method).", callback=writable
        ),
    ] = None,
    layout: Annotated[
        TableFormat, typer.Option("--format", help="Of the table.")
    ] = TableFormat.table,
    max_parallel: Annotated[int | None, typer.Option(help="Runs at once, at most.")] = None,
) -> None:
    """Tune methods with the same budget each, then compare them with what was chosen.

    Every method gets as many draws of as many rounds. The draw with the best validation
    is chosen, trained on fresh seeds, and tested once. The same command again goes on
    where it was stopped.

    [dim]fedlab tune domain_skew --strategies fedavg,fedbn,fedwon --budget 8
    fedlab tune my.yaml --strategies "fedprox,scaffold" --space space.yaml --seeds 6
    fedlab report runs/domain_skew-tuning/comparison[/dim]
    """
    from fedlab.comparison.arguments import seeds_of
    from fedlab.tuning.tune import tune as run_all
    from fedlab.tuning.tuning_table import print_tuning

    try:
        tuning = run_all(
            scenario,
            strategies or (),
            budget,
            seeds_of(seeds),
            changes or (),
            space=space,
            tuning_seeds=tuning_seeds,
            select=select.value,
            metric=metric,
            halving=halving,
            sampler=sampler.value,
            before=before,
            out=folder,
            max_parallel=max_parallel,
            progress=err,
        )
    except KeyboardInterrupt:
        err.print(Text("stopped; the same command goes on where it was"), soft_wrap=True)
        raise typer.Exit(130) from None
    if layout is TableFormat.table:
        print_tuning(tuning, out)
    if write is not None:
        for file in tuning.write(write):
            err.print(Text(f"tuned scenario: {file}"), soft_wrap=True)
    show(tuning.comparison, layout)
