"""What a model knew of a forgotten client before and after, on a console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from fedlab.report.units import number_or_dash, size

if TYPE_CHECKING:
    import pandas

ROWS = {
    "forgotten": "accuracy, the client's training samples",
    "client_tests": "accuracy, the client's test samples",
    "others_tests": "accuracy, test samples of the others",
    "membership": "membership attack, AUC",
    "steps": "client steps",
    "bytes": "traffic",
}
STAGES = {
    "before": "before",
    "unlearnt": "unlearnt",
    "after": "after",
    "retrained": "retrained",
}


def print_forgetting(table: pandas.DataFrame, console: Console) -> None:
    """A line for each score and a column for each stage; intervals stand in brackets.

    Args:
        table: ``stage``, ``score``, ``value``, ``low``, ``high``.
        console: Where to show it.
    """
    found = {(row.stage, row.score): row for row in table.itertuples(index=False)}
    stages = [stage for stage in STAGES if any(stage == each for each, _ in found)]
    shown = Table(box=None, header_style="bold")
    shown.add_column("")
    for stage in stages:
        shown.add_column(STAGES[stage], justify="right")
    for score, words in ROWS.items():
        shown.add_row(words, *(_cell(found.get((stage, score)), score) for stage in stages))
    console.print(shown)


def _cell(row: object, score: str) -> str:
    if row is None:
        return ""
    value = float(row.value)  # type: ignore[attr-defined]
    if score == "steps":
        return f"{value:,.0f}"
    if score == "bytes":
        return size(value)
    if score == "membership":
        return f"{value:.3f} ({row.low:.3f} - {row.high:.3f})"  # type: ignore[attr-defined]
    return number_or_dash(value)
