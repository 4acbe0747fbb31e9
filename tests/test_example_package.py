"""A method in a package of its own: two classes in one module, and entry points."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import documents

EXAMPLE = documents.ROOT / "examples" / "fedlab-blending"


@pytest.mark.parametrize(
    ("page", "language", "file"),
    [("method", "python", "blending.py"), ("package", "toml", "pyproject.toml")],
)
def test_the_guide_shows_it_as_it_stands(page: str, language: str, file: str) -> None:
    found = [b.text for b in documents.blocks(f"docs/guides/{page}.md") if b.language == language]
    texts = [text.removeprefix(f"# {file}\n") for text in found]
    assert (EXAMPLE / file).read_text("utf-8") in texts


@pytest.mark.slow
def test_installed_it_is_a_method_among_others(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)

    def fedlab(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "fedlab", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "clients go on from a mixture" in fedlab("list", "strategies")
    assert "most: 0.8" in fedlab("show", "blending")
    done = fedlab("simulate", "smoke", "strategy=blending", "resources.backend=local")
    assert "client models" in done
    assert "global model" not in done
