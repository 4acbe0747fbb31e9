"""A label audit on the console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedlab.adaptation.audit import Audit
from fedlab.report.tables import write_csv


def print_audit(audit: Audit, console: Console, file: Path | None = None) -> None:
    """Shows flagged labels by client, and how good the flags are.

    Args:
        audit: What was found.
        console: Where to show it.
        file: A CSV file to write all samples to.

    Raises:
        InputError: If the file cannot be written.
    """
    table = Table(box=None, header_style="bold")
    for name in ("client", "labels", "flagged", "wrong"):
        table.add_column(name, justify="right")
    for client, rows in audit.samples.groupby("client"):
        wrong = int((rows.given != rows.true).sum())
        table.add_row(str(client), str(len(rows)), str(int(rows.flagged.sum())), str(wrong))
    console.print(table)
    console.print(
        f"estimated share of wrong labels {audit.noise:.3f}; of the flagged ones "
        f"{audit.precision:.3f} are wrong, of the wrong ones {audit.recall:.3f} are flagged"
    )
    if file is not None:
        write_csv(audit.samples, file)
        console.print(f"samples: [bold]{file}[/bold]", soft_wrap=True)
