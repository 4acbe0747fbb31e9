"""Verbs that train: simulate, resume."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

import fedlab
from fedlab.cli.app import Changing, Overrides, Source, app, err, out
from fedlab.errors import FedlabError, RunError, format_error


@app.command(cls=Changing, rich_help_panel="Train")
def simulate(
    scenario: Source,
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of this run, instead of one in runs/.")
    ] = None,
) -> None:
    """Run a scenario on this machine.

    SCENARIO is a YAML file or a name from `fedlab list scenarios`; KEY=VALUE changes it.

    [dim]fedlab simulate domain_skew
    fedlab simulate domain_skew strategy=fedbn seed=3
    fedlab simulate my.yaml strategy.mu=0.1 --out runs/mu-0.1[/dim]
    """
    from fedlab import simulation

    loaded = fedlab.load_scenario(scenario, overrides or ())
    target = folder or simulation.default_folder(loaded)
    with _stoppable(target):
        run = simulation.simulate(loaded, out=target)
    _close(run)


@app.command(cls=Changing, rich_help_panel="Train")
def resume(run: Annotated[Path, typer.Argument()], overrides: Overrides = None) -> None:
    """Go on with a run that was interrupted, to the same end; or make a run longer.

    RUN is the folder that `fedlab simulate` made for it.

    [dim]fedlab resume runs/domain_skew-fedbn-s0
    fedlab resume runs/domain_skew-fedbn-s0 rounds=100[/dim]
    """
    from fedlab import simulation
    from fedlab.runs.best_round import ended_by_patience

    opened = fedlab.load_run(run)
    if not overrides and opened.finished:
        longer = ended_by_patience(opened) or "more rounds make it longer (rounds=...):"
        out.print(Text(f"This run has finished already; {longer}"), soft_wrap=True)
    with _stoppable(run):
        done = simulation.resume(run, overrides or ())
    _close(done)


@contextmanager
def _stoppable(folder: Path) -> Generator[None]:
    """At Ctrl-C, exits with code 130 and prints how to resume; other errors say so, too.

    Raises:
        RunError: If a run that has begun is stopped by an error that is none of fedlab's: of a
            user's class, or of a full disk.
    """
    scenario = folder / "scenario.yaml"
    try:
        yield
    except FedlabError:
        raise
    except Exception as error:
        if not scenario.is_file():
            raise
        raise RunError(
            f"the run was stopped by {format_error(error)}; mend that, and go on with: fedlab "
            f"resume {folder} (fedlab --debug shows where it happened)"
        ) from error
    except KeyboardInterrupt:
        has_run = scenario.is_file()
        hint = (
            f"; go on with: fedlab resume {folder}" if has_run else " before anything was trained"
        )
        err.print(Text(f"stopped{hint}"), soft_wrap=True)
        raise typer.Exit(130) from None


def _close(run: fedlab.Run) -> None:
    from fedlab.report.terminal.summary_table import print_closing_table

    print_closing_table(run, out)
