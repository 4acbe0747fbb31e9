"""Verbs that show runs: report, watch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

import fedlab
from fedlab.cli.app import app, out


@app.command(rich_help_panel="Follow and report")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...")],
    file: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    target: Annotated[
        float | None, typer.Option(help="An accuracy; adds rounds and bytes up to it.")
    ] = None,
    mixed: Annotated[
        bool,
        typer.Option(
            "--allow-mixed", "--mixed", help="Even if the runs are of different experiments."
        ),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(help="Further columns: METRIC or METRIC:AGGREGATION, by commas (f1:worst)."),
    ] = None,
    data: Annotated[
        bool, typer.Option(help="Load the data, for pictures of partition and features.")
    ] = True,
) -> None:
    """Show runs in one self-contained page: results, curves, clients, cost, data, features.

    RUN is the folder of a run, a folder that holds such, or one that `fedlab compare` made.

    [dim]fedlab report runs/domain_skew-fedavg-s0 runs/domain_skew-fedbn-s0
    fedlab report runs -o everything.html --allow-mixed[/dim]
    """
    from fedlab.comparison.arguments import listed
    from fedlab.report.html.page import write_report
    from fedlab.report.html.report_data import read_comparison

    comparison = read_comparison(runs, target=target, mixed=mixed, columns=listed(columns))
    write_report(comparison, file, data=data)
    out.print(f"report: [bold]{file}[/bold]", soft_wrap=True)


@app.command(rich_help_panel="Follow and report")
def watch(run: Annotated[Path, typer.Argument()]) -> None:
    """Show a run's accuracy in the terminal, live while it is under way.

    RUN is the folder that `fedlab simulate` made for it; Ctrl-C stops watching, not the run.

    [dim]fedlab watch runs/domain_skew-fedbn-s0[/dim]
    """
    from fedlab.report.terminal.watch import watch as follow

    with contextlib.suppress(KeyboardInterrupt):
        follow(fedlab.load_run(run), out)
