"""The list of deliberate mistakes fits the source; `python -m benchmarks.mutations` makes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.mutants import MUTANTS, Mutant
from benchmarks.mutants import trial as trials
from benchmarks.mutants.kept import keep
from benchmarks.mutants.methods import LEAST, method_of, mutants_of
from benchmarks.mutants.trial import Outcome, Verdict
from benchmarks.mutations import RECORD, judge
from fedlab.config import registry

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_can_be_made(mutant: Mutant) -> None:
    wrong = mutant.applied(ROOT)
    assert wrong != (ROOT / mutant.file).read_text("utf-8")
    compile(wrong, mutant.file, "exec")


@pytest.mark.parametrize("test", sorted({test for mutant in MUTANTS for test in mutant.tests}))
def test_who_has_to_notice_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name or 'test_'}" in (ROOT / file).read_text("utf-8")


def test_mistakes_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


METHODS = registry.BUILTIN["strategies"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_mistakes_that_its_tests_notice(method: str) -> None:
    own = mutants_of(method, MUTANTS, METHODS)
    assert len(own) >= LEAST, f"{method} has {len(own)} mutants; write more in benchmarks/mutants"


def mutant_named(name: str) -> Mutant:
    return Mutant(name, "product.py", "a", "b", ("test_strict.py",))


def test_a_mistake_is_of_the_method_with_whose_name_it_begins() -> None:
    names = ["fedavg", "fedavgm", "lg_fedavg", "fedlabel", "fedlabel_two"]
    found = {
        name: method_of(mutant_named(name), names)
        for name in (
            *("fedavg-a", "fedavgm-a", "lg-fedavg-a", "lg_fedavg-a", "fedlabel-two-a"),
            *("fedavg", "a-fedavg"),
        )
    }
    assert [*found.values()] == [
        *("fedavg", "fedavgm"),
        *2 * ("lg_fedavg",),
        "fedlabel_two",
        "",
        "",
    ]


def test_trials_are_kept_and_the_newest_of_a_mistake_counts(tmp_path: Path) -> None:
    file = tmp_path / "mutations.csv"

    def outcome(name: str, verdict: Verdict) -> Outcome:
        return Outcome(mutant_named(name), verdict)

    first = [outcome("fedbn-b", Verdict.SURVIVED), outcome("fedavg-a", Verdict.CAUGHT)]
    first += [outcome("fedbn-c", Verdict.UNTRIED), outcome("fedbn-d", Verdict.UNFIT)]
    assert keep(file, first, METHODS, "2026-01-02") == 2
    assert keep(file, [outcome("fedbn-b", Verdict.CAUGHT)], METHODS, "2026-03-04") == 1
    assert file.read_text("utf-8") == (
        "method,mutant,died,date\nfedavg,fedavg-a,yes,2026-01-02\nfedbn,fedbn-b,yes,2026-03-04\n"
    )


def test_the_record_is_of_mistakes_that_there_are() -> None:
    names = {mutant.name: method_of(mutant, METHODS) for mutant in MUTANTS}
    kept = pd.read_csv(RECORD, keep_default_na=False)
    assert [names.get(name) for name in kept.mutant] == [*kept.method]
    assert set(kept.died) == {"yes"}


SOURCE = "def half(x):\n    return x / 2\n"
STRICT = "from product import half\n\ndef test_half():\n    assert half(6) == 3\n"
LAX = "from product import half\n\ndef test_half():\n    assert half(0) == 0\n"
WRONG = "from product import half\n\ndef test_half():\n    assert half(6) == 4\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module, and three tests of it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    tests = {"test_strict.py": STRICT, "test_lax.py": LAX, "test_wrong.py": WRONG}
    for name, text in {"product.py": SOURCE, **tests}.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(trials, "ROOT", folder)
    return folder


def test_a_copy_has_all_packages_and_nothing_that_was_made(tmp_path: Path) -> None:
    made = trials.copied(tmp_path / "copy")
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "fedlab").rglob("*.py")}
    assert all((made / package).is_dir() for package in packages)
    assert not {".git", ".venv", "runs", "site", "dist"} & {path.name for path in made.iterdir()}


@pytest.mark.slow
def test_mistakes_are_caught_survive_or_are_not_tried(repository: Path) -> None:
    def mutant(name: str, old: str, new: str, test: str) -> Mutant:
        return Mutant(name, "product.py", old, new, (test,))

    outcomes = judge(
        [
            mutant("caught", "/ 2", "* 2", "test_strict.py"),
            mutant("survives", "/ 2", "* 2", "test_lax.py"),
            mutant("caught as well", "x / 2", "x / 3", "test_strict.py"),
            mutant("is not there", "/ 4", "* 2", "test_strict.py"),
            mutant("is there twice", "x", "y", "test_strict.py"),
            mutant("fails anyway", "/ 2", "* 2", "test_wrong.py"),
            mutant("has no tests", "/ 2", "* 2", "test_none.py"),
            mutant("cannot be imported", "def half", "def third", "test_strict.py"),
        ],
        2,
        60,
        lambda said: None,
    )
    unfit, untried = Verdict.UNFIT, Verdict.UNTRIED
    assert [outcome.verdict for outcome in outcomes] == [
        Verdict.CAUGHT,
        Verdict.SURVIVED,
        Verdict.CAUGHT,
        unfit,
        unfit,
        untried,
        untried,
        untried,
    ]
    assert "product.py has '/ 4' 0 times" in outcomes[3].reason
    assert "without the mistake test_wrong.py" in outcomes[5].reason
    assert (repository / "product.py").read_text() == SOURCE
