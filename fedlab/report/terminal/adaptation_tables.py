"""Tables of models before and after adaptation, and of class priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedlab.report.terminal.tables import ROWS, print_table

if TYPE_CHECKING:
    import pandas


def print_before_and_after(table: pandas.DataFrame, metrics: list[str], console: Console) -> None:
    """One line per domain, with two columns for each metric, and means over domains.

    Args:
        table: ``domain``, ``metric``, ``before``, ``after``, ``examples``.
        metrics: Those to show.
        console: Where to show it.
    """
    shown = table[["domain", "examples"]].drop_duplicates("domain").reset_index(drop=True)
    for metric in metrics:
        own = table[table["metric"] == metric].set_index("domain")
        for when in ("before", "after"):
            shown[f"{metric} {when}"] = shown["domain"].map(own[when])
    print_table(shown, console)


def print_priors(priors: pandas.DataFrame, console: Console) -> None:
    """One line per class: its share of the source, and the estimated / true one of each domain.

    The last line is how far shares are from the true ones, summed over classes: the source's (as if
    nothing were estimated) in brackets.

    Args:
        priors: ``domain``, ``class``, ``source``, ``estimated``, ``true``.
        console: Where to show it.
    """
    domains = {str(name): own for name, own in priors.groupby("domain", sort=False)}
    first = next(iter(domains.values()))
    shown = Table(
        box=None, header_style="bold", title="class prior: estimated / true", title_justify="left"
    )
    shown.add_column("class")
    shown.add_column("source", justify="right")
    for name in domains:
        shown.add_column(escape(name), justify="right")
    for place in range(min(len(first), ROWS)):
        cells = [
            f"{own['estimated'].iloc[place]:.2f}/{own['true'].iloc[place]:.2f}"
            for own in domains.values()
        ]
        share = first["source"].iloc[place]
        shown.add_row(escape(str(first["class"].iloc[place])), f"{share:.2f}", *cells)
    shown.add_section()
    gaps = [
        f"{(own['estimated'] - own['true']).abs().sum():.2f} "
        f"({(own['source'] - own['true']).abs().sum():.2f})"
        for own in domains.values()
    ]
    shown.add_row("off by", "", *gaps, style="bold")
    console.print(shown)
    if len(first) > ROWS:
        console.print(f"... {len(first) - ROWS} more classes", style="dim")
