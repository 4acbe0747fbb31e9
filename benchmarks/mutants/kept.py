"""The record of trials, `benchmarks/results/mutations.csv`: a row for each mutant."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.mutants.methods import method_of
from benchmarks.mutants.trial import Outcome, Verdict

COLUMNS = ("method", "mutant", "died", "date")
ANSWERS = {Verdict.CAUGHT: "yes", Verdict.SURVIVED: "no"}


def keep(file: Path, outcomes: Sequence[Outcome], methods: Collection[str], date: str) -> int:
    """Writes trials into a record; a mutant's newest row takes the place of an older one.

    Mutants that could not be tried are left out, as nothing is known of them.

    Args:
        file: The record; made if it is not there.
        outcomes: The trials.
        methods: Registered names of methods.
        date: The day of the trials, such as ``2026-12-01``.

    Returns:
        How many rows are new or written anew.
    """
    rows = {row["mutant"]: row for row in _read(file)}
    tried = [outcome for outcome in outcomes if outcome.verdict in ANSWERS]
    for outcome in tried:
        mutant = outcome.mutant
        answer = ANSWERS[outcome.verdict]
        values = (method_of(mutant, methods), mutant.name, answer, date)
        rows[mutant.name] = dict(zip(COLUMNS, values, strict=True))
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows.values(), key=lambda row: (row["method"], row["mutant"])))
    return len(tried)


def _read(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))
