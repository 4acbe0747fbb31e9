"""Which tests are slow, and who runs them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers.tiers import mark_slow

ROOT = Path(__file__).parents[1]


class Case:
    """As much of a case of a test as its marks need."""

    def __init__(self, number: str, *marks: pytest.MarkDecorator) -> None:
        self.nodeid, self.marks = f"tests/test_x.py::test_it[{number}]", [m.mark for m in marks]

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        return (mark for mark in self.marks if mark.name == name)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.mark)


def slow(mark: pytest.MarkDecorator, *numbers: str) -> list[str]:
    """Those of the cases that are slow with this mark."""
    cases: Sequence[Any] = [Case(number, mark) for number in numbers]
    mark_slow(cases)
    return [
        number
        for number, case in zip(numbers, cases, strict=True)
        if list(case.iter_markers("slow"))
    ]


PRODUCT = ("fedavg-cnn-batch", "fedavg-mlp", "fedbn-cnn-batch", "lg_fedavg-mlp")


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (("fedavg",), ["fedbn-cnn-batch", "lg_fedavg-mlp"]),
        (("mlp", "fedbn"), ["fedavg-cnn-batch"]),
        (("cnn-batch",), ["fedavg-mlp", "lg_fedavg-mlp"]),
        (("fedavg-cnn-batch",), ["fedavg-mlp", "fedbn-cnn-batch", "lg_fedavg-mlp"]),
    ],
)
def test_cases_are_named_by_whole_parts_of_their_ids(
    names: Sequence[str], others: list[str]
) -> None:
    assert slow(pytest.mark.slow_except(*names), *PRODUCT) == others
    assert slow(pytest.mark.slow_for(*names), *PRODUCT) == [n for n in PRODUCT if n not in others]


@pytest.mark.parametrize("mark", [pytest.mark.slow_except, pytest.mark.slow_for])
def test_a_name_that_fits_no_case_is_an_error(mark: pytest.MarkDecorator) -> None:
    with pytest.raises(pytest.UsageError, match=r"test_it.*fits no case: \['fedav'\]"):
        slow(mark("fedbn", "fedav"), *PRODUCT)


def ci(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The job of a CI server, where uv only says what it was asked for."""
    for name in ("uv", "chromium"):
        (folder / name).write_text('#!/bin/sh\necho "asked: $*"\n')
        (folder / name).chmod(0o755)
    return subprocess.run(
        [ROOT / ".ci" / "run", *words],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [[], ["--slow"]])
def test_the_ci_server_runs_slow_tests_where_it_is_asked_to(
    words: list[str], tmp_path: Path
) -> None:
    done = ci(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    asked = [line for line in done.stdout.splitlines() if line.startswith("asked: ")]
    for step in ("ruff check", "pyright", "mkdocs build --strict --quiet", "pytest"):
        assert f"asked: run --all-extras {step}" in asked
    assert ("asked: run --all-extras pytest -m slow" in asked) == bool(words)


def test_the_ci_server_knows_no_other_word(tmp_path: Path) -> None:
    done = ci(tmp_path, "--fast")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--fast: unknown arguments; use .ci/run or .ci/run --slow\n"
