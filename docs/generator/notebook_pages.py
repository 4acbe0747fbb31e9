"""Notebooks as pages: run from a clean kernel where asked to, with what they print and draw.

``FEDLAB_DOCS_NOTEBOOKS=1`` runs them (``make docs``), which takes minutes; without it pages have
the text and the code alone.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
from nbclient import NotebookClient
from repository import ROOT

WANTED = "FEDLAB_DOCS_NOTEBOOKS"
TIMEOUT = 600
"""Seconds that a cell may take."""
PICTURES = {"image/png": ".png", "image/svg+xml": ".svg"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class NotebookPage(NamedTuple):
    """A page and the pictures on it, by their names beside it."""

    markdown: str
    pictures: dict[str, bytes]


def sources() -> list[Path]:
    """The notebooks, in the percent format of jupytext."""
    return sorted((ROOT / "notebooks").glob("*.py"))


def execute(path: Path, folder: Path) -> Any:
    """Runs a notebook in a folder, from a clean kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = jupytext.read(path)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def page(path: Path) -> NotebookPage:
    """The page of a notebook."""
    if os.environ.get(WANTED):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
    else:
        notebook = jupytext.read(path)
    pictures: dict[str, bytes] = {}
    parts = [part for cell in notebook.cells for part in _cell(cell, path.stem, pictures)]
    note = f"*This page is the notebook `notebooks/{path.name}`.*"
    parts.insert(1, note)
    return NotebookPage("\n\n".join(parts) + "\n", pictures)


def _cell(cell: Any, stem: str, pictures: dict[str, bytes]) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            if output.name == "stdout":  # the other one has libraries' remarks on the machine
                yield from _text(output.text)
            continue
        data = output.data
        kind = next((kind for kind in PICTURES if kind in data), None)
        if kind:
            name = f"{stem}-{len(pictures) + 1}{PICTURES[kind]}"
            content = data[kind]
            is_text = kind.endswith("xml")
            pictures[name] = content.encode() if is_text else base64.b64decode(content)
            yield f"![What the cell draws]({name})"
        elif "text/html" in data:
            html = re.sub(r"\n\s*\n", "\n", data["text/html"])
            yield f'<div class="output">\n{html}\n</div>'
        else:
            yield from _text(data["text/plain"])


def _text(text: str) -> Iterator[str]:
    """What a cell prints, as a terminal would leave it: a line that is written over is gone."""
    lines = [line.rsplit("\r", 1)[-1] for line in ESCAPES.sub("", text).rstrip().split("\n")]
    if any(lines):
        yield '```text title="prints"\n' + "\n".join(lines) + "\n```"
