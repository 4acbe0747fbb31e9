"""Shows a partition before training: tables in the terminal and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedlab.data.samples import FederatedData
from fedlab.partition.natural_clients import short_name
from fedlab.partition.partition import Partition
from fedlab.report.partition_measures import (
    class_counts,
    domain_counts,
    known_labels,
    label_distances,
    measures,
)
from fedlab.report.skew_numbers import skew_numbers

if TYPE_CHECKING:
    import pandas

__all__ = [
    "class_counts",
    "domain_counts",
    "draw",
    "label_distances",
    "measures",
    "render",
    "render_feature_skew",
]

ALL_SHOWN = 20  # clients up to which each gets its row
FIRST_SHOWN = 8  # rows of a larger population
WIDEST = 25  # width of the column of clients: a name that is cut, and the mark of a held-out one
MOST_FREQUENT = 3  # classes named where there are too many for columns
EDGES = 12  # width of the column of clients, and of a table's edges
HELD_OUT = "*"  # behind a held-out client
QUANTILES = {"least": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "most": 1.0}


def render(partition: Partition, data: FederatedData, console: Console) -> None:
    """Prints the partition: clients by domain, clients by class, and the spread over clients.

    Of more than 20 clients, the first ones stand for the rest.
    """
    clients = len(partition)
    shown = range(clients if clients <= ALL_SHOWN else FIRST_SHOWN)
    console.print(_headline(partition, data))
    console.print(_domain_table(partition, data, shown, console.width))
    console.print(_class_table(partition, data, shown, console.width))
    console.print(_spread_table(partition, data))
    console.print(_skew_table(partition, data))


def render_feature_skew(distances: pandas.DataFrame, console: Console) -> None:
    """Prints how far domains lie apart in features (see `fedlab.report.feature_skew`)."""
    table = _table("Feature skew between domains")
    for name in distances.columns:
        numeric = distances[name].dtype.kind == "f"
        table.add_column(name, justify="right" if numeric else "left")
    for row in distances.itertuples(index=False):
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else escape(str(v)) for v in row))
    table.caption = (
        "on standardised features; proxy A-distance: 0 where a linear classifier cannot tell two "
        "domains apart, 2 where it always can"
    )
    table.caption_justify = "left"
    console.print(table)


def draw(partition: Partition, data: FederatedData, path: Path) -> None:
    """Writes a figure: each client's classes above, its samples by domain below.

    Args:
        partition: Who owns which samples.
        data: The pools they come from.
        path: File to write; its ending (.png, .svg, .pdf) decides the format.

    Raises:
        InputError: If no picture can be written there.
    """
    # Only here, because Matplotlib is slow to import and no device needs it.
    from fedlab.report.figures.partition_figure import partition_figure
    from fedlab.report.figures.saving import save

    save(partition_figure(partition, data), path)


def _headline(partition: Partition, data: FederatedData) -> str:
    """The sums, and samples without owner or label, labels that are hidden, and wrong ones."""
    parts = [
        f"[bold]{len(partition):,}[/] client{'s' * (len(partition) != 1)}",
        f"[bold]{len(partition.train):,}[/] training samples",
        f"[bold]{len(partition.test):,}[/] test samples",
    ]
    if len(partition.validation):
        parts.insert(2, f"[bold]{len(partition.validation):,}[/] validation samples")
    if len(partition.held_out):
        parts.append(_held_out(partition))
    seen = np.isin(data.train.domains, data.seen_domains)
    if unused := int(seen.sum()) - len(partition.train) - len(partition.validation):
        parts.append(f"{unused:,} training samples unused")
    parts += known_labels(partition, data)
    return " · ".join(parts)


def _held_out(partition: Partition) -> str:
    """The held-out clients, the first of many by their names or indices."""
    clients = partition.held_out.tolist()
    shown = [escape(short_name(partition.name(client))) for client in clients[:ALL_SHOWN]]
    named = ", ".join(shown) + " …" * (len(clients) > ALL_SHOWN)
    return f"[bold]{len(clients):,}[/] held out, never trained ({HELD_OUT}): {named}"


def _name(partition: Partition, client: int) -> str:
    """The name of a client's row, with a mark if it is held out."""
    mark = HELD_OUT * bool((partition.held_out == client).any())
    return f"{escape(short_name(partition.name(client)))}{mark}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")


def _row(table: Table, label: str, cells: list[str]) -> None:
    table.add_row(label, *["[dim]·[/]" if cell == "0" else cell for cell in cells])


def _domain_table(partition: Partition, data: FederatedData, shown: range, width: int) -> Table:
    """Counts in columns where the console has room for all domains, else each client's largest."""
    counts = domain_counts(partition, data)
    test = np.diff(partition.test_offsets)
    table = _table("Training samples by domain")
    table.add_column("client", justify="right", overflow="fold", max_width=WIDEST)
    aside = partition.validation_offsets
    others = {"validation": np.diff(aside)} if len(aside) else {}
    others["test"] = test
    sums = [numbers.sum() for numbers in others.values()]
    totals = [f"{total:,}" for total in (*counts.sum(axis=0), counts.sum(), *sums)]
    names = (*data.domain_names, "all", *others)
    widest = [max(len(name), len(total)) for name, total in zip(names, totals, strict=True)]
    if sum(widest) + 3 * len(widest) + EDGES <= width:
        for name in names:
            table.add_column(escape(name), justify="right")
        for client in shown:
            own = [numbers[client] for numbers in others.values()]
            numbers = [*counts[client], counts[client].sum(), *own]
            _row(table, _name(partition, client), [f"{number:,}" for number in numbers])
        _end(table, partition, shown, [*counts.sum(axis=0), counts.sum(), *sums])
        return table
    for title in ("domains", "all", *others):
        table.add_column(title, justify="right")
    table.add_column("most from", overflow="fold")
    for client in shown:
        own = counts[client]
        most = _largest(own, data.domain_names)
        numbers = [np.count_nonzero(own), own.sum(), *(n[client] for n in others.values())]
        _row(table, _name(partition, client), [*(f"{number:,}" for number in numbers), most])
    _end(table, partition, shown, [len(data.domain_names), counts.sum(), *sums])
    return table


def _largest(counts: np.ndarray, names: Sequence[str]) -> str:
    """The most frequent of some names, with their shares."""
    order = np.argsort(-counts, kind="stable")[:MOST_FREQUENT]
    shares = counts[order] / max(counts.sum(), 1)
    return ", ".join(
        f"{escape(names[int(index)])} [dim]{share:.0%}[/]"
        for index, share in zip(order, shares, strict=True)
        if share > 0
    )


def _class_table(partition: Partition, data: FederatedData, shown: range, width: int) -> Table:
    """Counts in columns where the console has room for all classes, else the largest classes."""
    counts = class_counts(partition, data)
    totals = [f"{total:,}" for total in counts.sum(axis=0)]
    widest = [max(len(a), len(b)) for a, b in zip(data.strata_names, totals, strict=True)]
    table = _table(f"Training samples by {data.target.strata_nouns[0]}")
    table.add_column("client", justify="right", overflow="fold", max_width=WIDEST)
    if sum(widest) + 3 * len(widest) + EDGES <= width:
        for name in data.strata_names:
            table.add_column(escape(name), justify="right")
        for client in shown:
            _row(table, _name(partition, client), [f"{number:,}" for number in counts[client]])
        _end(table, partition, shown, list(counts.sum(axis=0)))
        return table
    table.add_column(data.target.strata_nouns[1], justify="right")
    table.add_column("most frequent")
    for client in shown:
        own = counts[client]
        most = _largest(own, data.strata_names)
        _row(table, _name(partition, client), [f"{np.count_nonzero(own)}", most])
    if len(shown) < len(partition):
        table.add_row("…")
    return table


def _end(
    table: Table, partition: Partition, shown: range, totals: Sequence[int | np.integer]
) -> None:
    if len(shown) < len(partition):
        table.add_row("…")
    table.add_section()
    _row(table, "all", [f"{total:,}" for total in totals])


def _skew_table(partition: Partition, data: FederatedData) -> Table:
    """The whole partition in single numbers."""
    table = _table("Skew of the partition")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in skew_numbers(class_counts(partition, data)).items():
        table.add_row(name, f"{value:.3g}" if value < 100 else f"{value:,.0f}")
    table.caption = (
        f"total variation and Hellinger: between two clients, 0 (equal labels) to 1 (no "
        f"{data.target.strata_nouns[0]} in common); Gini: 0 (equal sizes) to 1; effective clients: "
        "so many of equal size weigh the same"
    )
    table.caption_justify = "left"
    return table


def _spread_table(partition: Partition, data: FederatedData) -> Table:
    table = _table("Spread over clients")
    table.add_column("of a client")
    for name in ("mean", *QUANTILES):
        table.add_column(name, justify="right")
    for name, values in measures(partition, data).items():
        whole = np.issubdtype(values.dtype, np.integer)
        # Whole numbers stay whole: quantiles are those of some client.
        quantiles = np.quantile(values, list(QUANTILES.values()), method="nearest")
        cells = [f"{value:,.0f}" if whole else f"{value:.2f}" for value in quantiles]
        table.add_row(name, f"{values.mean():,.1f}" if whole else f"{values.mean():.2f}", *cells)
    table.caption = (
        "label skew: total-variation distance of a client's labels from those of all clients, "
        "0 (none) to 1"
    )
    table.caption_justify = "left"
    return table
