"""The notebooks run from a clean kernel, to their last cell."""

from __future__ import annotations

import re
from pathlib import Path

import notebook_pages
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("path", notebook_pages.sources(), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    shorter = tmp_path / path.name
    text, changed = re.subn(r'(\brounds(?:=|": ))\d\d\b', r"\g<1>3", path.read_text("utf-8"))
    assert changed  # dozens of rounds show no more than a few whether it runs
    shorter.write_text(text, "utf-8")
    notebook = notebook_pages.execute(shorter, tmp_path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert "text/html" in kinds  # tables and curves


def test_there_are_notebooks() -> None:
    names = {path.stem for path in notebook_pages.sources()}
    assert names == {"compare_strategies", "write_your_own_strategy", "your_own_data"}
