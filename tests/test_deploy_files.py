"""What lies in deploy/ and docs/deploy.md speaks of the software as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from benchmarks import traffic
from fedlab.cli import app

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
GUIDE = ROOT / "docs/deploy.md"


def options(verb: str) -> set[str]:
    """All options of a verb of the command line."""
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in parameter.opts}


def used(text: str) -> list[tuple[str, set[str]]]:
    """Verbs that a text calls, with the options it gives them."""
    joined = re.sub(r"\\\n", " ", text)
    joined = re.sub(r'"[, ]+"', " ", joined)  # the list form of containers
    calls = re.findall(r'fedlab"?,? "?(join|serve|export)\b([^\n]*)', joined)
    return [(verb, set(re.findall(r"(?<![\w-])--[a-z-]+", rest))) for verb, rest in calls]


@pytest.mark.parametrize(
    "file",
    [
        DEPLOY / "fedlab-device.service",
        DEPLOY / "fedlab-server.service",
        DEPLOY / "Containerfile",
        GUIDE,
    ],
    ids=lambda file: file.name,
)
def test_options_are_those_of_the_command(file: Path) -> None:
    calls = used(file.read_text())
    assert calls
    for verb, given in calls:
        assert given <= options(verb), f"{file.name}: fedlab {verb}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("name", ["fedlab-device.service", "fedlab-server.service"])
def test_units_are_well_formed(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / name).read_text().replace("/opt/fedlab/bin/fedlab", "/bin/true")
    unit = tmp_path / name
    unit.write_text(text.replace("User=fedlab", "User=daemon"))
    result = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_container_copies_what_is_there_and_not_ignored() -> None:
    kept = (DEPLOY / "Containerfile.dockerignore").read_text()
    lines = re.findall(r"^COPY .*$", (DEPLOY / "Containerfile").read_text(), re.M)
    copies = [re.fullmatch(r"COPY (.*) /source\S*", line) for line in lines]
    assert all(copies), f"one of {lines} is not understood here"
    sources = [source for copy in copies if copy for source in copy[1].split()]
    assert {"pyproject.toml", "fedlab"} <= {*sources}
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}\n" in kept


def rows() -> dict[str, str]:
    """The guide's table of traffic: its lines by method."""
    lines = GUIDE.read_text().splitlines()
    return {
        line.split("`")[1]: line for line in lines if re.match(r"\| `\w+` \| [\d.]+ k?M?B", line)
    }


def test_the_table_has_every_method_in_its_own_words() -> None:
    found = rows()
    assert list(found) == traffic.methods()
    for method, line in found.items():
        said = traffic.sentences(method)
        assert line.endswith(f"| {said['Up']} | {said['Stays']} |")


@pytest.mark.parametrize("method", ["fedbn", pytest.param("ggeur", marks=pytest.mark.slow)])
def test_the_table_has_the_bytes_that_are_measured(method: str, tmp_path: Path) -> None:
    assert rows()[method] == traffic.row(method, tmp_path / "run")
