"""What a model knew of a forgotten client before and after, on a console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fedlab.report.units import number_or_dash, size

if TYPE_CHECKING:
    import pandas

ROWS = {
    "forgotten": "accuracy: forgotten samples",
    "client_tests": "accuracy: tests of the client",
    "others_tests": "accuracy: tests of the others",
    "membership": "membership attack, AUC",
    "interval": "95 % interval",
    "steps": "client steps",
    "bytes": "traffic",
}
STAGES = ("before", "unlearnt", "after", "retrained")


def print_forgetting(table: pandas.DataFrame, console: Console) -> None:
    """A line for each score and a column for each stage; intervals have a line to themselves.

    Args:
        table: ``stage``, ``score``, ``value``, ``low``, ``high``.
        console: Where to show it.
    """
    rows: list[Any] = list(table.itertuples(index=False))
    found = {(row.stage, row.score): row for row in rows}
    stages = [stage for stage in STAGES if any(stage == each for each, _ in found)]
    shown = Table(box=None, header_style="bold")
    shown.add_column("")
    for stage in stages:
        shown.add_column(stage, justify="right")
    for score, words in ROWS.items():
        shown.add_row(words, *(_cell(found, stage, score) for stage in stages))
    console.print(shown)


def _cell(found: dict[tuple[str, str], Any], stage: str, score: str) -> str:
    row = found.get((stage, "membership" if score == "interval" else score))
    if row is None:
        return ""
    if score == "interval":
        return f"{row.low:.3f}-{row.high:.3f}"
    if score == "steps":
        return f"{row.value:,.0f}"
    return size(row.value) if score == "bytes" else number_or_dash(row.value)
