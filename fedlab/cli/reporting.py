"""The verb that shows a run: watch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

import fedlab
from fedlab.cli.app import app, out


@app.command()
def watch(run: Annotated[Path, typer.Argument()]) -> None:
    """Show a run's accuracy in the terminal, live while it is under way.

    RUN is the folder that `fedlab simulate` made for it; Ctrl-C stops watching, not the run.

    [dim]fedlab watch runs/domain_skew-fedbn-s0[/dim]
    """
    from fedlab.report.watch import watch as follow

    with contextlib.suppress(KeyboardInterrupt):
        follow(fedlab.load_run(run), out)
