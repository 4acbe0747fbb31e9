"""A copy of the repository in which mistakes are made, and what the tests say of each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.environments import last_line
from benchmarks.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")
MADE = {"runs", "site", "dist"}
"""What a copy does without, anywhere and in the root; nothing of it is looked at by a test."""

FAILED = 1
"""What pytest ends with where tests ran and one of them failed."""


class Verdict(StrEnum):
    """What became of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    UNFIT = "does not apply"
    UNTRIED = "not tried"


@dataclass(frozen=True)
class Outcome:
    """A mutant, its verdict and, unless it was caught or survived, the reason."""

    mutant: Mutant
    verdict: Verdict
    reason: str = ""


def copied(folder: Path) -> Path:
    """A copy of the repository as it is now, in a folder that is not there yet."""
    anywhere = shutil.ignore_patterns(*LEFT_OUT)

    def ignored(place: str, names: list[str]) -> set[str]:
        return anywhere(place, names) | (MADE & {*names} if Path(place) == ROOT else set())

    return Path(shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored))


def without_a_mistake(tree: Path, tests: Sequence[str], limit: float) -> str:
    """Why tests say nothing of a mistake: what is wrong with them without one, or nothing."""
    code, said = _tested(tree, tests, limit)
    return "" if code == 0 else f"without the mistake {' '.join(tests)}: {said}"


def tried(tree: Path, mutant: Mutant, limit: float) -> Outcome:
    """Makes a mistake in a copy, runs the tests that have to notice it, and takes it back.

    Args:
        tree: The copy; no other process works in it meanwhile.
        mutant: The mistake.
        limit: Seconds after which the tests are ended.
    """
    try:
        wrong = mutant.applied(tree)
    except ValueError as error:
        return Outcome(mutant, Verdict.UNFIT, str(error))
    file = tree / mutant.file
    right = file.read_text("utf-8")
    try:
        _write(file, wrong)
        code, said = _tested(tree, mutant.tests, limit)
    finally:
        _write(file, right)
    if code in (0, FAILED):
        return Outcome(mutant, Verdict.SURVIVED if code == 0 else Verdict.CAUGHT)
    return Outcome(mutant, Verdict.UNTRIED, said)


def _write(file: Path, text: str) -> None:
    """Writes a module, and makes sure that no bytecode of what it was before is taken for it."""
    file.write_text(text, "utf-8")
    Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def _tested(tree: Path, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
    """The exit code of pytest, None if it took too long, and the last line that it printed."""
    # With slow tests: which tier has the test that notices a mistake is no matter here.
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-m", "not gpu", *tests]
    # Also for processes that a test starts, and before an editable installation of the original.
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, f"no answer after {limit:g} s"
    return process.returncode, last_line(output)
