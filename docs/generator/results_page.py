"""Pages of results: a template's words, and tables and figures made of benchmarks/results.

In a template, a comment stands for a table::

    <!-- table domain_skew
    rows: fedavg; fedbn; fedwon
    columns: handwritten scan "seconds a run" mean difference seeds
    -->

``rows`` are methods, or ``method = label``; all of the table by default. ``fedavg@200`` is a
method after a round. Columns are domains, ``mean`` over them, ``difference`` to the first row,
``seeds``, a column of another table (``"84 steps"=ggeur_84_steps.mean``), or cells that were taken
over. A row may come from another table, too (``office_features_both:ggeur = both | ggeur``), and
``head`` has the titles before the columns. ``{{ difference TABLE METHOD REFERENCE }}`` and its like
are what `figures` makes for a sentence.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import evidence_parts
import figures
import result_rows
import tables
from repository import ROOT

from benchmarks import one_digit

TEMPLATES = ROOT / "docs" / "templates"
TABLE = re.compile(r"<!-- table (\S+)\n(.*?)-->", re.DOTALL)
FIGURE = re.compile(r"\{\{ (\w+)((?: (?:\"[^\"]*\"|[^\s}]+))*) \}\}")
PLACE = re.compile(r"(<!-- evidence: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
"""A part of a page that is otherwise written by hand."""

FILLED = ("README.md",)
NOTE = (
    "<!-- Made by `python -m benchmarks.pages` of docs/templates/{0} and benchmarks/results; "
    "change these. -->\n\n"
)


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with what should stand in it."""
    for template in sorted(TEMPLATES.glob("*.md.in")):
        text = filled(template.read_text("utf-8"))
        yield ROOT / "docs" / template.stem, NOTE.format(template.name) + text
    for name in FILLED:
        text = (ROOT / name).read_text("utf-8")
        yield ROOT / name, PLACE.sub(lambda m: f"{m[1]}{evidence_parts.part(m[2])}{m[4]}", text)


def main(check: bool) -> int:
    """Writes all pages, or says with code 1 which are not up to date."""
    old = 0
    for path, text in pages():
        there = path.read_text("utf-8") if path.is_file() else ""
        if there == text:
            continue
        if check:
            old += 1
            lines = (there.splitlines(), text.splitlines())
            print("\n".join(difflib.unified_diff(*lines, str(path), "made", lineterm="", n=0)))
        else:
            path.write_text(text, "utf-8")
    if old:
        print(f"{old} pages are not up to date; run python -m benchmarks.pages", file=sys.stderr)
    return int(old > 0)


def filled(template: str) -> str:
    """A template with all its tables and figures.

    Raises:
        ValueError: If it asks for what is not there.
    """
    text = TABLE.sub(lambda found: _table(found[1], found[2]).rstrip("\n"), template)
    return FIGURE.sub(lambda found: figures.figure(found[1], *shlex.split(found[2])), text)


def _table(name: str, words: str) -> str:
    keys = dict(line.split(": ", 1) for line in words.strip().splitlines())
    rows = [r.strip() for r in keys.get("rows", "; ".join(result_rows.names(name))).split(";")]
    columns = shlex.split(keys["columns"])
    head = [*(cell.strip() for cell in keys.get("head", "method").split("|"))]
    first: dict[str, str] = {}
    lines = []
    for row in rows:
        source, _, label = (part.strip() for part in row.partition(" = "))
        table, method, at = result_rows.place(name, source)
        reference = first.setdefault(table, method)
        shown = [cell.strip() for cell in (label or method).split("|")]
        cells = [_cell(table, method, shown[-1], column, reference, at) for column in columns]
        lines.append([*shown, *cells])
    return tables.table([*head, *(column.partition("=")[0] for column in columns)], lines)


def _cell(table: str, name: str, label: str, column: str, first: str, at: int | None) -> str:
    _, equals, elsewhere = column.partition("=")
    if equals:
        table, _, column = elsewhere.partition(".")
    if name not in result_rows.names(table):
        return result_rows.taken_over(table, label, column)
    runs = result_rows.method(table, name, at)
    if column == "seeds":
        return str(len(runs.runs))
    if column == "difference":
        if name == first:
            return ""
        return one_digit.with_interval(
            result_rows.difference(runs, result_rows.method(table, first, at))
        )
    domains = next(iter(runs.runs.values()))
    if column in domains or column == "mean":
        return result_rows.spread(runs.of(column))
    if column == "accuracy":
        return result_rows.spread(runs.of("mean"))
    return result_rows.taken_over(table, label, column)
