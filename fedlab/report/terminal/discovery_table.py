"""Classes that were found among clients without labels, on the console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedlab.adaptation.discover import Discovered
from fedlab.report.terminal.tables import write_csv
from fedlab.report.units import size


def print_discovered(
    found: Discovered, console: Console, file: Path | None = None, priors: Path | None = None
) -> None:
    """Shows each class with its recall and precision, the figures of all, and what has travelled.

    Args:
        found: What was found.
        console: Where to show it.
        file: A CSV file to write all test samples to.
        priors: A CSV file to write the shares of classes to.

    Raises:
        InputError: If a file cannot be written.
    """
    samples = found.samples
    right = samples["found"] == samples["class"]
    table = Table(box=None, header_style="bold")
    for name in ("class", "samples", "recall", "found", "precision"):
        table.add_column(name, justify="right")
    for name in samples["class"].drop_duplicates().sort_values():
        true, given = samples["class"] == name, samples["found"] == name
        precision = f"{right[given].mean():.3f}" if given.any() else "-"
        recall = f"{right[true].mean():.3f}"
        table.add_row(name, f"{true.sum():,}", recall, f"{given.sum():,}", precision)
    console.print(table)
    console.print(
        f"accuracy [bold]{found.accuracy:.3f}[/bold], found classes matched to true ones such that "
        "most test samples are right"
    )
    console.print(
        f"shares of classes are off by {found.prior_error:.3f} (sum over classes, mean over "
        f"clients); the factorisation leaves {found.factors.residual:.3g}"
    )
    console.print(
        f"[dim]After its rounds a client sends {size(found.bytes_up)} of sums and counts, and is "
        f"sent {size(found.bytes_down)}.[/dim]"
    )
    for what, rows, path in (("samples", samples, file), ("shares", found.priors, priors)):
        if path is not None:
            write_csv(rows, path)
            console.print(f"{what}: [bold]{path}[/bold]", soft_wrap=True)
