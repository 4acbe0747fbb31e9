"""Markdown tables: writing those of keys, and finding rows in those of results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fedlab.config.catalogue import Parameter


class ResultTable(NamedTuple):
    """A table of a page of results.

    Attributes:
        section: The heading that it stands under.
        head: Names of the columns.
        rows: Cells, row after row.
    """

    section: str
    head: list[str]
    rows: list[list[str]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def keys(parameters: Iterable[Parameter]) -> str:
    """A table of keys that a block of a scenario may hold."""
    rows = [
        (
            f"`{parameter.name}`",
            parameter.kind,
            "required" if parameter.default is None else f"`{parameter.default}`",
            as_code(parameter.text),
        )
        for parameter in parameters
    ]
    return table(("key", "value", "default", "meaning"), rows) if rows else ""


def as_code(text: str) -> str:
    """Docstring text with its double backticks as Markdown's single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def result_tables(markdown: str) -> Iterator[ResultTable]:
    """The tables of a page whose rows are methods."""
    section, current = "", None
    for line in markdown.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            if current:
                yield current
            current = None
        elif current is None:
            current = ResultTable(section, cells, [])
        elif not set("".join(cells)) <= set("-: "):
            current.rows.append(cells)
    if current:
        yield current


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
