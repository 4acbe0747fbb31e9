"""Rows of benchmarks/results as the cells of tables: means, deviations, paired differences.

``methods-*.csv`` has for each run and domain the accuracy of clients' own models and of the global
one; ``taken_over.csv`` the cells of older tables whose runs are no longer there, as they stood.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repository import ROOT

from benchmarks.one_digit import plain
from fedlab.comparison.statistics import PairedDifference, estimate, paired_difference

RESULTS = ROOT / "benchmarks" / "results"
Run = Mapping[str, float]
"""Accuracy in per cent by domain."""


@dataclass(frozen=True)
class Method:
    """The runs of a method in a table.

    Attributes:
        runs: Accuracy by domain, by seed.
    """

    runs: Mapping[int, Run]

    def of(self, column: str) -> dict[int, float]:
        """By seed the accuracy on a domain, or with ``mean`` that over domains.

        Raises:
            ValueError: If a run has no such domain.
        """
        if column == "mean":
            return {seed: sum(run.values()) / len(run) for seed, run in self.runs.items()}
        if any(column not in run for run in self.runs.values()):
            raise ValueError(f"no run has the domain '{column}'")
        return {seed: run[column] for seed, run in self.runs.items()}


def method(table: str, name: str, server_round: int | None = None) -> Method:
    """The runs of a method.

    Args:
        table: The table in the file of rows.
        name: The method.
        server_round: Its round; may be left out where there is one alone.

    Raises:
        ValueError: If there are none, or rows of several rounds.
    """
    rows = [
        row
        for row in _rows()
        if (row["table"], row["method"]) == (table, name)
        and server_round in (None, int(row["round"]))
    ]
    if not rows or len({row["round"] for row in rows}) > 1:
        problem = "no rows" if not rows else "rows of several rounds"
        raise ValueError(f"there are {problem} of '{name}' in '{table}'")
    runs: dict[int, dict[str, float]] = {}
    for row in rows:
        value = float(row["clients"] or row["global"])
        runs.setdefault(int(row["seed"]), {})[row["domain"]] = 100 * value
    return Method(runs)


def place(table: str, source: str) -> tuple[str, str, int | None]:
    """Table, method and round of a source: ``METHOD``, ``METHOD@200``, or ``TABLE:METHOD``."""
    source, _, at = source.partition("@")
    elsewhere, colon, name = source.rpartition(":")
    return (elsewhere if colon else table), name, (int(at) if at else None)


def found(table: str, source: str) -> Method:
    """The runs of a source, as `place` reads it."""
    return method(*place(table, source))


def names(table: str) -> list[str]:
    """The methods of a table, in the order of the file."""
    return list(dict.fromkeys(row["method"] for row in _rows() if row["table"] == table))


def difference(values: Method, reference: Method) -> PairedDifference:
    """The difference of the means over domains in points, paired by seed."""
    return paired_difference(values.of("mean"), reference.of("mean"))


def spread(values: Mapping[int, float]) -> str:
    """``80.1 ± 1.2``; without a deviation for a single seed."""
    over = estimate(list(values.values()))
    return plain(over.mean) + (f" ± {plain(over.deviation)}" if over.seeds > 1 else "")


def taken_over(table: str, row: str, column: str) -> str:
    """A cell of an older table.

    Raises:
        ValueError: If there is none.
    """
    for each in _taken_over():
        if (each["table"], each["row"], each["column"]) == (table, row, column):
            return each["cell"]
    raise ValueError(f"there is no cell '{column}' of '{row}' in '{table}'")


@cache
def _rows() -> list[dict[str, str]]:
    return [row for path in sorted(RESULTS.glob("methods-*.csv")) for row in _read(path)]


@cache
def _taken_over() -> list[dict[str, str]]:
    return _read(RESULTS / "taken_over.csv")


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
