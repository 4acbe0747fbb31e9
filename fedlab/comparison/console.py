"""A comparison in the terminal: accuracies, and below them spreads, differences and costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.texts import (
    Column,
    accuracies,
    missing,
    names,
    notes,
    spreads_and_costs,
)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the table in two parts, what it means, and which runs are missing."""
    groups = names(comparison)
    console.print(_fitting([*groups, *accuracies(comparison)], console))
    console.print(_fitting([*groups[:-1], *spreads_and_costs(comparison)], console))
    absent = missing(comparison)
    for note in notes(comparison):
        style = "yellow" if note in absent else "dim"
        console.print(Text(note, style=style), soft_wrap=note in absent)


def _fitting(columns: Sequence[Column], console: Console) -> Table:
    """The table, with what is said of a number below it where there is no room beside it."""
    table = _table(columns)
    if table.__rich_measure__(console, console.options.update(width=1000)).maximum <= console.width:
        return table
    stacked = _table([_stacked(column) for column in columns])
    stacked.collapse_padding = True
    return stacked


def _stacked(column: Column) -> Column:
    cells = [cell.replace(" ± ", "\n± ").replace(" [", "\n[") for cell in column.cells]
    return replace(column, title=re.sub(r" (?=[a-z])", "\n", column.title), cells=cells)


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        style = "" if column.number else "cyan"
        justify = "right" if column.number else "left"
        title = column.title.replace(" over ", "\nover ").replace(" to ", "\nto ")
        table.add_column(title, justify=justify, style=style, overflow="fold")
    for place in range(len(columns[0].cells)):
        cells = ((c.cells[place], c.best[place]) for c in columns)
        table.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return table
