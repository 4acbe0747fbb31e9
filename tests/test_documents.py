"""The documents keep their word: what they say to type is right, and runs."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from fedlab import cli
from fedlab.config import registry
from helpers import documents

TRAINS = {
    "partition",
    "simulate",
    "resume",
    "personalise",
    "calibrate",
    "adapt-test",
    "audit",
    "forget",
    "discover",
    "compare",
    "report",
    "watch",
}
README = "README.md"
PAGES = [page for page in documents.pages() if documents.blocks(page)]
ALL = [(page, block) for page in PAGES for block in documents.blocks(page)]


def trains(block: documents.Block) -> bool:
    """Whether a block takes more than a moment."""
    if block.language == "python":
        return block.file is None
    return any(command.split()[1:2] and command.split()[1] in TRAINS for command in block.commands)


QUICK = [page for page in PAGES if not any(map(trains, documents.blocks(page)))]
LONG = [page for page in PAGES if page not in QUICK]


def test_every_verb_is_shown() -> None:
    commands = [command for _, block in ALL for command in block.commands]
    verbs = {command.split()[1] for command in commands if command.startswith("fedlab ")}
    click = typer.main.get_command(cli.app)
    shown = {name for name, each in click.commands.items() if not each.hidden}  # type: ignore[attr-defined]
    assert verbs == shown
    assert len(commands) > 60


def test_what_is_not_run_says_why() -> None:
    for page, mark in documents.reasons():
        kind, _, why = mark.partition(", ")
        assert kind in {"skip", "fails"}, f"{page}: {mark}"
        assert kind == "fails" or len(why) > 8, f"{page}: {mark}"
    for page, block in ALL:
        others = [c for c in block.commands if c and not c.startswith("fedlab ")]
        assert block.skipped or not others, f"{page}: {others}"


@pytest.mark.parametrize("page", [README, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_lead_to_files(page: str) -> None:
    text = (documents.ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+?)[)#]", text):
        assert (documents.ROOT / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", [page for page in documents.pages() if page.startswith("docs/")])
def test_links_of_the_site_lead_to_files_of_the_checkout(page: str) -> None:
    text = (documents.ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:\s]+)[)#]", text):
        assert ((documents.ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_every_method_has_a_page() -> None:
    found = {path.stem for path in (documents.ROOT / "docs" / "methods").glob("*.md")}
    assert found == {*registry.BUILTIN["strategies"], "index"}


def test_the_readme_counts_what_there_is() -> None:
    text = (documents.ROOT / README).read_text(encoding="utf-8")
    for number, noun in re.findall(r"\b(\d+) (methods|losses)\b", text):
        kind = {"methods": "strategies"}.get(noun, noun)
        assert int(number) == len(registry.BUILTIN[kind])


def test_a_method_page_shows_the_method() -> None:
    for name in registry.BUILTIN["strategies"]:
        page = f"docs/methods/{name}.md"
        commands = [c for block in documents.blocks(page) for c in block.commands]
        shown = [documents.scenario_of(command) for command in commands]
        assert any(scenario and scenario.strategy.name == name for scenario in shown), page


@pytest.mark.parametrize("page", QUICK)
def test_quick_pages(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_all(page, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in LONG if page != README])
def test_pages_that_train(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_all(page, tmp_path, monkeypatch)


@pytest.mark.slow
def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_here: None) -> None:
    type_all(README, tmp_path, monkeypatch)


def type_all(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what a reader of a page does, from top to bottom, in a folder of its own."""
    (folder / "scenarios").symlink_to(documents.ROOT / "fedlab" / "scenarios")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    names: dict = {}
    try:
        for block in documents.blocks(page):
            if block.file:
                (folder / block.file).write_text(block.text)
            elif block.skipped:
                continue
            elif block.language == "python":
                exec(block.text, names)
            elif block.language == "yaml":
                documents.is_valid(block.text)
            elif block.language == "toml":
                groups = tomllib.loads(block.text)["project"]["entry-points"]
                assert {group.removeprefix("fedlab.") for group in groups} <= {*registry.BUILTIN}
            for command in block.commands:
                is_last = command == block.commands[-1]
                type_one(command, 2 if block.mark == "fails" and is_last else 0)
    finally:
        for name in set(sys.modules) - known:
            if (folder / f"{name}.py").is_file():
                del sys.modules[name]  # another page may have a module of that name


def type_one(command: str, code: int) -> None:
    if code:
        with pytest.raises(documents.InputError):
            documents.scenario_of(command)
        return
    program, *arguments = shlex.split(documents.shortened(command))
    assert program == "fedlab"
    outcome = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    if arguments[0] == "simulate":
        assert "traffic" in outcome.output
