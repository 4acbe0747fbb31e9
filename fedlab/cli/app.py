"""The frame of the command: its options, its consoles, and how it prints errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from fedlab.errors import FedlabError, InputError, format_error, visible
from fedlab.version import __version__

if TYPE_CHECKING:
    import pandas

app = typer.Typer(
    help="Federated learning under label skew and domain skew.",
    epilog="Start with:  fedlab list   |   fedlab simulate domain_skew strategy=fedbn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
settings = {"debug": False}

Source = Annotated[str, typer.Argument(metavar="SCENARIO")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Changes of single keys. A block with a name, KEY={name: ...}, is taken whole.",
    ),
]


def writable(option: typer.CallbackParam, file: Path | None) -> Path | None:
    """Refuses a file that cannot be written, before the work whose results it is for.

    Raises:
        InputError: If its folder is not there, or it is a folder itself.
    """
    if file is None or (file.parent.is_dir() and not file.is_dir()):
        return file
    why = "it is a folder" if file.is_dir() else f"there is no folder '{file.parent}'"
    raise InputError(f"{option.opts[0]}: '{file}' cannot be written: {why}; choose another file")


def drawable(option: typer.CallbackParam, file: Path | None) -> Path | None:
    """Refuses a picture of no known format, before the work whose results it shows.

    Raises:
        InputError: If pictures cannot have such an ending, or it is a folder.
    """
    if file is not None:
        from fedlab.report.figures.saving import refuse_format

        refuse_format(file, option.opts[0])
    return file


TableFile = Annotated[Path | None, typer.Option("--out", help="Table as CSV.", callback=writable)]


def write_table(table: pandas.DataFrame, file: Path | None, what: str = "table") -> None:
    """Writes a table as CSV and says so, where a file is named."""
    from fedlab.report.terminal.tables import write_csv

    if file is not None:
        write_csv(table, file)
        out.print(f"{what}: [bold]{file}[/bold]", soft_wrap=True)


class Changing(TyperCommand):
    """A verb that takes overrides of a scenario, which are not options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the words; a key with dashes in front is refused with its right spelling.

        Raises:
            InputError: If there is no such option.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            key = error.option_name.lstrip("-").replace("-", "_")
            raise InputError(
                f"{ctx.info_name} has no option {error.option_name}; keys of the scenario are "
                f"written without dashes, {key}=VALUE (`fedlab {ctx.info_name} --help`)"
            ) from error


def main() -> None:
    """Runs the command line; prints errors without a traceback."""
    _look_here_last()
    try:
        app()
    except FedlabError as error:
        if settings["debug"]:
            raise
        first, *more = str(error).split("\n")
        for line in (first, *more):
            is_problem = line is first or isinstance(error, InputError)
            mark = ("error: " if is_problem else "  ", "bold red")
            err.print(Text.assemble(mark, visible(line)), soft_wrap=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if settings["debug"]:
            raise
        hint = "fedlab --debug, before the verb, shows where it happened"
        err.print(
            Text.assemble(("error: ", "bold red"), visible(f"{format_error(error)}; {hint}")),
            soft_wrap=True,
        )
        sys.exit(1)


def _look_here_last() -> None:
    """A scenario may name modules beside it; a file there must not pass for one that is installed.

    `python -m` puts the current folder first.
    """
    here = str(Path.cwd())
    if sys.path and sys.path[0] in ("", here) and not sys.flags.safe_path:
        del sys.path[0]
    if here not in sys.path:
        sys.path.append(here)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"fedlab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    settings["debug"] = debug
