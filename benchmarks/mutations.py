"""Whether the tests notice a wrong method: known mistakes, made one at a time in a copy.

    python -m benchmarks.mutations
    python -m benchmarks.mutations --only fedwon-never-clips moon-others-are-in-training-mode
    python -m benchmarks.mutations --method scaffold feddyn --record
    python -m benchmarks.mutations --at-once 2

The mistakes stand in `benchmarks.mutants`, each with the tests that have to fail when it is made.
These run first as they are: a test that fails anyway has noticed nothing. The working tree is never
changed, apart from `benchmarks/results/mutations.csv` with `--record`. Ends with 1 unless every
mistake was caught.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.mutants import MUTANTS, Mutant
from benchmarks.mutants.kept import keep
from benchmarks.mutants.methods import method_of
from benchmarks.mutants.trial import ROOT, Outcome, Verdict, copied, tried, without_a_mistake
from fedlab.config import registry

Job = TypeVar("Job")
Result = TypeVar("Result")

COLUMNS = ("mistake", "file", "verdict")
RECORD = ROOT / "benchmarks" / "results" / "mutations.csv"


def judge(
    mutants: Sequence[Mutant], at_once: int, limit: float, say: Callable[[str], None]
) -> list[Outcome]:
    """Tries mutants in copies of the working tree.

    Args:
        mutants: The mutants.
        at_once: How many at the same time, each in a copy of its own.
        limit: Seconds after which tests are ended; those of a mistake, and those without one.
        say: Told what is being done.

    Returns:
        One outcome a mutant, in their order.
    """
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(at_once):
            free.put(copied(Path(folder) / str(number)))

        def in_a_copy(action: Callable[[Path, Job], Result], jobs: Sequence[Job]) -> list[Result]:
            def one(job: Job) -> Result:
                tree = free.get()
                try:
                    return action(tree, job)
                finally:
                    free.put(tree)

            with ThreadPoolExecutor(at_once) as pool:
                return list(pool.map(one, jobs))

        tests = list(dict.fromkeys(mutant.tests for mutant in mutants))
        say(f"{len(tests)} sets of tests without a mistake")
        found = in_a_copy(lambda tree, each: without_a_mistake(tree, each, limit), tests)
        wrong = dict(zip(tests, found, strict=True))

        def trial(tree: Path, mutant: Mutant) -> Outcome:
            if reason := wrong[mutant.tests]:
                return Outcome(mutant, Verdict.UNTRIED, reason)
            outcome = tried(tree, mutant, limit)
            say(f"{mutant.name}: {outcome.verdict}")
            return outcome

        return in_a_copy(trial, mutants)


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Prints a table and a line for each verdict; Markdown where the output is no terminal."""
    rows = [(each.mutant.name, each.mutant.file, str(each.verdict)) for each in outcomes]
    if console.is_terminal:
        table = Table(*COLUMNS, box=None, header_style="bold")
        for row, outcome in zip(rows, outcomes, strict=True):
            table.add_row(*row, style="" if outcome.verdict is Verdict.CAUGHT else "bold red")
        console.print(table)
    else:
        lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    for outcome in outcomes:
        if outcome.reason:
            print(f"{outcome.mutant.name}: {outcome.reason}")
    for verdict in Verdict:
        if number := sum(each.verdict is verdict for each in outcomes):
            print(f"{number} of {len(outcomes)} {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    methods = registry.BUILTIN["strategies"]
    parser.add_argument("--method", nargs="+", choices=[*methods], default=[], metavar="NAME")
    parser.add_argument("--record", action="store_true", help=f"keep outcomes in {RECORD.name}")
    parser.add_argument("--list", action="store_true", help="name the mistakes, and try none")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="copies to try them in")
    parser.add_argument(
        "--timeout", type=float, default=600, help="seconds after which tests are ended"
    )
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if mutant.name in given.only]
    if given.method:
        chosen = [mutant for mutant in chosen if method_of(mutant, methods) in given.method]
    if given.list:
        for mutant in chosen:
            print(f"{mutant.name}  {mutant.file}  {' '.join(mutant.tests)}")
        return
    outcomes = judge(
        chosen, max(1, given.at_once), given.timeout, lambda said: print(said, file=sys.stderr)
    )
    show(outcomes, Console())
    if given.record:
        day = datetime.now(UTC).date().isoformat()
        print(f"{keep(RECORD, outcomes, methods, day)} rows written to {RECORD.relative_to(ROOT)}")
    sys.exit(any(outcome.verdict is not Verdict.CAUGHT for outcome in outcomes))


if __name__ == "__main__":
    main()
