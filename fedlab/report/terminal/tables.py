"""Prints a pandas table, or writes it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fedlab.errors import InputError
from fedlab.partition.natural_clients import short_name

if TYPE_CHECKING:
    import pandas

ROWS = 30
"""Rows shown on a console; a file has them all."""


def print_table(table: pandas.DataFrame, console: Console, file: Path | None = None) -> None:
    """Prints a table's first rows, and the mean of its columns of fractions.

    Args:
        table: Any table; columns of floats are shown with three digits.
        console: Where to show it.
        file: A CSV file to write all of it to.

    Raises:
        InputError: If the file cannot be written.
    """
    shown = Table(box=None, header_style="bold")
    for name in table.columns:
        numeric = table[name].dtype.kind in "if"
        shown.add_column(escape(str(name)), justify="right" if numeric else "left")
    for row in table.head(ROWS).itertuples(index=False):
        shown.add_row(*map(_cell, table.columns, row))
    if len(table) > 1:
        means = (f"{table[n].mean():.3f}" if table[n].dtype.kind == "f" else "" for n in table)
        shown.add_section()
        shown.add_row(*("mean" if k == 0 else mean for k, mean in enumerate(means)), style="bold")
    console.print(shown)
    if len(table) > ROWS:
        console.print(f"... {len(table) - ROWS} more rows", style="dim")
    if file is not None:
        write_csv(table, file)
        console.print(f"table: [bold]{file}[/bold]", soft_wrap=True)


def owner_cell(name: str) -> Text:
    """An owner's name as it is, whatever markup it looks like, cut to a column's width."""
    return Text(short_name(name))


def _cell(column: str, value: object) -> Text:
    if column == "owner":
        return owner_cell(str(value))
    return Text(f"{value:.3f}" if isinstance(value, float) else str(value))


def write_csv(table: pandas.DataFrame, file: Path) -> None:
    """Writes a table.

    Raises:
        InputError: If the file cannot be written.
    """
    try:
        table.to_csv(file, index=False)
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror or error}") from error
