"""The README keeps its word: every command and every Python block in it runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fedlab
from fedlab import cli
from fedlab.scenario_file import load_scenario

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = re.compile(r"^(pip install uv && )?uv run (--extra sim|--all-extras) ")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [INSTALL.sub("", line) for line in lines]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as a reader of the README works in."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "scenarios").symlink_to(ROOT / "fedlab" / "scenarios")
    for block in blocks("python"):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block)
    return folder


def run(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    program, *arguments = shlex.split(command)
    assert program == "fedlab"
    outcome = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def test_there_is_something_to_run() -> None:
    verbs = [command.split()[1] for command in commands() if command.startswith("fedlab ")]
    assert set(verbs) == {
        "simulate",
        "compare",
        "resume",
        "list",
        "show",
        "validate",
        "partition",
        "copy",
        "personalise",
        "audit",
        "watch",
    }
    assert [c for c in commands() if not c.startswith("fedlab ")] == ["pytest"]


def test_the_scenario_is_valid() -> None:
    from fedlab import yaml_text

    (block,) = blocks("yaml")
    assert load_scenario(yaml_text.read(block, "README")[0]).strategy.name == "fedbn"


TRAINS = ("simulate", "compare", "resume", "personalise", "audit", "watch")
QUICK = [c for c in commands() if c.split()[1:2] and c.split()[1] not in TRAINS]
LONG = [c for c in commands() if "domain_skew" in c and c not in QUICK]
SMOKE = [c for c in commands() if c not in [*QUICK, *LONG] and c.startswith("fedlab ")]
ENDS = {
    "compare": "difference",
    "personalise": "after",
    "audit": "of the flagged ones",
    "watch": "accuracy",
}
"""What commands show that train nothing, or not with others."""


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(command, workplace, monkeypatch)


@pytest.mark.slow
def test_smoke_commands(workplace: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    for command in SMOKE:
        shown = ENDS.get(command.split()[1], "mean over clients")
        assert shown in run(command, workplace, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("command", LONG)
def test_main_commands(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None
) -> None:
    if command != LONG[0]:
        command += " rounds=3"  # the first one is run as it stands; the others take as long
    output = run(command, workplace, monkeypatch)
    for domain in ("handwritten", "scan", "photo", "printed", "street", "worst client"):
        assert domain in output


@pytest.mark.slow
def test_python(workplace: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    monkeypatch.chdir(workplace)
    (block,) = (block for block in blocks("python") if block.startswith("import fedlab"))
    names: dict = {}
    exec(block, names)
    assert isinstance(names["run"], fedlab.Run)
    assert len(names["run"].history)
