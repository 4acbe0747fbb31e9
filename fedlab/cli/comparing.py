"""The verb that compares: methods and settings over seeds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from fedlab.cli.app import Changing, Source, app, err, out
from fedlab.errors import InputError, RunError

if TYPE_CHECKING:
    from fedlab.comparison.comparison import Comparison
    from fedlab.comparison.suite import Suite


class TableFormat(StrEnum):
    """How the table is printed."""

    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"


@app.command(cls=Changing, rich_help_panel="Train")
def compare(
    scenario: Source,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENARIO]... [KEY=VALUE[,VALUE]...]...")
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option(help="Methods, by commas; the first is the reference of the others."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="How many, or which: 0,3,7.")] = "5",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of all runs, instead of one in runs/.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Accuracy up to which rounds and bytes count, e.g. 0.8.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Further columns: METRIC or METRIC:AGGREGATION, by commas (f1:worst)."),
    ] = None,
    layout: Annotated[
        TableFormat, typer.Option("--format", help="Of the table.")
    ] = TableFormat.table,
    max_parallel: Annotated[
        int | None,
        typer.Option(
            "--max-parallel",
            "--at-once",
            help="Runs at once, at most; by default as many as fit. With backend=local always one.",
        ),
    ] = None,
) -> None:
    """Run a scenario with several methods, settings and seeds, and put them side by side.

    KEY=VALUE changes all runs; KEY=VALUE,VALUE compares the values. A value
    that contains a comma stands in brackets or quotes: model.hidden=[8,8],[16].
    Methods may have parameters: "fedavg,fedprox mu=0.1,fedprox mu=1". Several
    scenarios are put into one table, with ranks. The same command again goes on
    where it was stopped.

    [dim]fedlab compare domain_skew --strategies fedavg,fedbn,fedwon --seeds 3
    fedlab compare domain_skew training.optimizer.lr=0.01,0.1 --seeds 0,7
    fedlab compare label_skew domain_skew --strategies fedavg,fedbn --seeds 6
    fedlab compare my.yaml --strategies "fedavg,fedprox mu=1" --format latex[/dim]
    """
    from fedlab.comparison.arguments import (
        changes_of,
        is_scenario,
        listed,
        refuse_run_folders,
        seeds_of,
    )
    from fedlab.comparison.compare import compare as run_all
    from fedlab.comparison.compare_scenarios import compare_scenarios

    refuse_run_folders([scenario, *(changes or ())])
    more = [text for text in changes or () if is_scenario(text)]
    given = changes_of([text for text in changes or () if text not in more])
    if more:
        if given.variants or target is not None:
            what = (
                "--target" if target is not None else f"the values of {next(iter(given.variants))}"
            )
            raise InputError(f"several scenarios are compared by methods alone; leave out {what}")
        if columns is not None and layout is not TableFormat.table:
            raise InputError(
                "--columns: they are of each scenario's own table, which --format "
                f"{layout.value} leaves out; use --format table, or compare one scenario"
            )
        suite = compare_scenarios(
            [scenario, *more],
            strategies or (),
            seeds_of(seeds),
            given.fixed,
            out=folder,
            columns=listed(columns),
            max_parallel=max_parallel,
            progress=err,
        )
        print_suite(suite, layout)
        return
    try:
        comparison = run_all(
            scenario,
            strategies or (),
            seeds_of(seeds),
            given.fixed,
            variants=given.variants,
            out=folder,
            target=target,
            columns=listed(columns),
            max_parallel=max_parallel,
            progress=err,
        )
    except KeyboardInterrupt:
        err.print(Text("stopped; the same command goes on where it was"), soft_wrap=True)
        raise typer.Exit(130) from None
    show(comparison, layout)


def show(comparison: Comparison, layout: TableFormat) -> None:
    """Prints a comparison.

    Raises:
        RunError: If runs are missing.
    """
    from fedlab.comparison.console import print_comparison

    if layout is TableFormat.table:
        print_comparison(comparison, out)
        out.print(
            f"runs: [bold]{comparison.runs[0].folder.parent}[/bold]" if comparison.runs else ""
        )
    else:
        write = {"markdown": "to_markdown", "latex": "to_latex", "csv": "to_csv"}[layout.value]
        typer.echo(getattr(comparison, write)(), nl=False)
    failed = [why for group in comparison.groups for why in group.missing.values()]
    if failed:
        raise RunError(f"{len(failed)} runs are missing; the same command tries them again")


def print_suite(suite: Suite, layout: TableFormat) -> None:
    """Prints each scenario's comparison, and the table of all."""
    from fedlab.comparison.console import print_columns, print_comparison
    from fedlab.comparison.suite_formats import columns, notes

    if layout is not TableFormat.table:
        write = {"markdown": "to_markdown", "latex": "to_latex", "csv": "to_csv"}[layout.value]
        typer.echo(getattr(suite, write)(), nl=False)
        return
    for name, comparison in suite.comparisons.items():
        out.print(Text(name, style="bold"))
        print_comparison(comparison, out)
    out.print(Text("all scenarios", style="bold"))
    print_columns(columns(suite), out)
    for note in notes(suite):
        out.print(Text(note, style="dim"))
