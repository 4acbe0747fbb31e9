"""A comparison in the terminal: accuracies, and below them spreads, differences and costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedlab.comparison.columns import (
    asked_for,
    clients,
    domains,
    names,
    over_all,
    over_all_of_many,
    spreads_and_costs,
)
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.notes import missing, notes
from fedlab.comparison.sentences import Column
from fedlab.comparison.work import work_columns

NARROWEST = 12
"""Letters of a column of words that can still be read."""


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the table in parts, its notes, and which runs are missing.

    Domains that do not fit beside each other are shown by their mean, spread and worst.
    """
    groups = names(comparison)
    each = [*domains(comparison), *over_all(comparison)]
    room = _one_table([*groups, *each], console) is not None
    accuracies = each if room else over_all_of_many(comparison)
    _print(groups, accuracies, console)
    _print(
        groups[:-1],
        [*clients(comparison), *asked_for(comparison), *spreads_and_costs(comparison)],
        console,
    )
    if asked := work_columns(comparison):
        _print(groups[:-1], asked, console)
    absent, tuned = missing(comparison), comparison.tuned
    oracle = [tuned.note] if tuned is not None and tuned.is_oracle else []
    lines = notes(comparison)
    if not room:
        lines.insert(
            1,
            f"There is no room for {len(comparison.domains)} domains side by side: `--format csv` "
            "(to_csv) has each of them, and so has the page that `fedlab report` makes.",
        )
    for note in lines:
        style = "yellow" if note in [*absent, *oracle] else "dim"
        console.print(Text(note, style=style), soft_wrap=note in absent)


def print_columns(table: Sequence[Column], console: Console) -> None:
    """Prints columns, the first of which names the rows; wide tables are split."""
    _print(table[:1], table[1:], console)


def _print(groups: Sequence[Column], values: Sequence[Column], console: Console) -> None:
    """Prints a table, split into several below each other if it is too wide."""
    whole = _one_table([*groups, *values], console)
    if whole is not None:
        console.print(whole)
        return
    part: list[Column] = []
    for column in values:
        if part and _width(_below([*groups, *part, column], console), console) > console.width:
            console.print(_below([*groups, *part], console))
            part = []
        part.append(column)
    console.print(_below([*groups, *part], console))


def _one_table(columns: Sequence[Column], console: Console) -> Table | None:
    """The table, with footnotes of numbers beside or below it; None if it is too wide."""
    for table in (_table(columns), _below(columns, console)):
        if _width(table, console) <= console.width:
            return table
    return None


def _width(table: Table, console: Console) -> int:
    """The width of a table without a limit, in characters."""
    return table.__rich_measure__(console, console.options.update(width=1000)).maximum


def _below(columns: Sequence[Column], console: Console) -> Table:
    """The table with footnotes of its numbers below; they take half the width at most."""
    named = sum(not column.number for column in columns)
    widest = max(NARROWEST, console.width // (2 * max(named, 1)))
    table = _table([_stacked(column) for column in columns], widest)
    table.collapse_padding = True
    return table


def _stacked(column: Column) -> Column:
    cells = [cell.replace(" ± ", "\n± ").replace(" [", "\n[") for cell in column.cells]
    return replace(column, title=re.sub(r" (?=[a-z])", "\n", column.title), cells=cells)


def _table(columns: Sequence[Column], widest: int | None = None) -> Table:
    """The columns as they are.

    Args:
        columns: Names and numbers.
        widest: Letters of a line of a column of words, at most.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        style = "" if column.number else "cyan"
        justify = "right" if column.number else "left"
        title = column.title.replace(" over ", "\nover ").replace(" to ", "\nto ")
        table.add_column(
            title,
            justify=justify,
            style=style,
            overflow="fold",
            no_wrap=column.number,
            max_width=None if column.number else widest,
        )
    for place in range(len(columns[0].cells)):
        cells = ((c.cells[place], c.best[place]) for c in columns)
        table.add_row(*(Text(text, style="bold" if best else "") for text, best in cells))
    return table
