"""A label audit on the console."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedlab.adaptation.audit import Audit
from fedlab.report.terminal.tables import owner_cell, write_csv


def print_audit(audit: Audit, console: Console, file: Path | None = None) -> None:
    """Prints flagged labels by client, and the estimated quality of the flags.

    The accuracy of the classifiers is printed with the estimate, and a warning where it is too low.
    Which labels are really wrong is known only where the scenario has label noise.

    Args:
        audit: What was found.
        console: Where to show it.
        file: A CSV file to write all samples to.

    Raises:
        InputError: If the file cannot be written.
    """
    known = bool((audit.samples.given != audit.samples.true).any())
    table = Table(box=None, header_style="bold")
    named = "owner" in audit.samples
    for name in ("client", *["owner"] * named, "labels", "flagged", *["wrong"] * known):
        table.add_column(name, justify="right")
    for client, rows in audit.samples.groupby("client"):
        numbers = [len(rows), int(rows.flagged.sum())]
        numbers += [int((rows.given != rows.true).sum())] * known
        owner = [owner_cell(str(rows["owner"].iloc[0]))] if named else []
        table.add_row(str(client), *owner, *map(str, numbers))
    console.print(table)
    console.print(f"estimated share of wrong labels {audit.noise:.3f}")
    console.print(f"the classifiers behind it agree with {audit.accuracy:.3f} of unseen labels")
    if known:
        right = 0.0 if math.isnan(audit.precision) else audit.precision  # none was flagged
        console.print(
            f"of the flagged ones {right:.3f} are wrong, of the wrong ones {audit.recall:.3f} are "
            "flagged"
        )
    if audit.doubt:
        console.print(Text(f"not to be relied on: {audit.doubt}", style="yellow"))
    if file is not None:
        write_csv(audit.samples, file)
        console.print(f"samples: [bold]{file}[/bold]", soft_wrap=True)
