"""Prints the result of a tuning."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedlab.comparison.tuned import CHOSEN_BY
from fedlab.config.yaml_text import in_words
from fedlab.tuning.result import Tuning

NONE = "-"


def print_tuning(tuning: Tuning, console: Console) -> None:
    """Prints for each method its chosen draw, and the draw that is best on test data."""
    chosen_by = CHOSEN_BY[tuning.plan["select"]]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("method", "chosen"):
        table.add_column(title, overflow="fold")
    for title in ("validation", "of the default", "draw", "oracle's draw"):
        table.add_column(title, justify="right")
    for method, row in tuning.summary().iterrows():
        values = ", ".join(
            f"{key.rpartition('.')[2]}={in_words(value)}"
            for key, value in tuning.chosen[str(method)].items()
        )
        table.add_row(
            str(method),
            values or "the default",
            _text(tuning, row["score"]),
            _text(tuning, row["default"]),
            f"{row['draw']:.0f}",
            NONE if math.isnan(row["oracle draw"]) else f"{row['oracle draw']:.0f}",
        )
    console.print(table)
    budget, seeds = tuning.plan["budget"], tuning.plan["tuning_seeds"]
    runs = f"{len(seeds)} seed{'s' * (len(seeds) > 1)} each"
    if left_out := tuning.plan.get("left_out"):
        runs += f", once without each of {', '.join(left_out)}"
    note = (
        f"{budget} draws for each method, {runs}, chosen by {tuning.plan['metric']} on "
        f"{chosen_by}; draw 0 is the default. The oracle's draw is the best on test data: no "
        "choice may look at it. Below: what was chosen, on fresh seeds."
    )
    style = "yellow" if tuning.rule == "oracle" else "dim"
    console.print(Text(note, style=style))
    console.print(Text(f"ledger: {tuning.folder / 'ledger.csv'}"), soft_wrap=True)


def _text(tuning: Tuning, value: float) -> str:
    return NONE if math.isnan(value) else tuning.score.text(value)
