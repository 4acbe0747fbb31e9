"""The verb that starts a scenario of one's own: copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedlab.cli.app import app, out
from fedlab.errors import InputError


@app.command(rich_help_panel="Look before you train")
def copy(
    name: Annotated[str, typer.Argument()],
    target: Annotated[Path, typer.Argument()] = Path(),
) -> None:
    """Copy a scenario that comes with fedlab, to change it.

    TARGET is a file or a folder; by default the working folder.

    [dim]fedlab copy domain_skew
    fedlab copy domain_skew mine.yaml[/dim]
    """
    from fedlab.config.builtin_scenarios import find

    source = find(name)
    file = target / source.name if target.is_dir() else target
    try:
        with file.open("x", encoding="utf-8") as copied:
            copied.write(source.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise InputError(f"'{file}' is there already; name another file") from error
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror}") from error
    out.print(f"copied to [bold]{file}[/bold]; run it with: fedlab simulate {file}", soft_wrap=True)
