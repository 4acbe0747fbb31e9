"""The verb that makes a trained model a file for devices: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

import fedlab
from fedlab.cli.app import app, out


@app.command(rich_help_panel="After training")
def export(
    run: Annotated[Path, typer.Argument()],
    to: Annotated[
        str, typer.Option(help="pt2 (PyTorch), onnx, or safetensors (the tensors alone).")
    ] = "pt2",
    client: Annotated[
        int | None, typer.Option(help="This client's own model, instead of the global one.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--out", help="The file, instead of one in RUN/export.")
    ] = None,
) -> None:
    """Write a finished run's model for inference on a device, checked against the original.

    [dim]fedlab export runs/domain_skew-fedavg-s0
    fedlab export runs/domain_skew-fedbn-s0 --to onnx --client 2[/dim]
    """
    done = fedlab.export_run(fedlab.load_run(run), to, client=client, out=file)
    about, found = done.description, done.comparison
    rows = {
        "file": f"{done.path} ({done.path.stat().st_size / 1e6:.2f} MB)",
        about.input.name: str(about.input),
        about.output.name: str(about.output),
        "names": ", ".join(about.classes),
        "checked": f"{found.samples} test samples: {about.output.name} differ by "
        f"{found.largest:.1e} at most (allowed {found.allowed:.1e})"
        + (f", {found.same:.1%} alike" if found.same is not None else "")
        + f", {found.scored} {found.score:.3f}",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(Text(name, "bold"), Text(value))
    out.print(table)
