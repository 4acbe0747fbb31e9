"""Figures in the sentences of a template: ``{{ KIND WORDS }}``.

========================================  =================================================
``difference TABLE METHOD REFERENCE``     ``5.9 points [3.8, 8.0]``, paired by seed
``gain TABLE METHOD REFERENCE``           the same without the word
``points TABLE METHOD REFERENCE``         ``5.9``; of a COLUMN instead of the mean, and of another
                                          one of the reference, where they follow
``by_seed TABLE METHOD REFERENCE``        ``+1.8, -1.6 and +3.1``
``mean TABLE METHOD [COLUMN]``            ``83.0``
``spread TABLE METHOD [COLUMN]``          ``72.0 ± 6.3``
``run TABLE METHOD SEED``                 ``74.7``, of one seed
``cell TABLE ROW COLUMN``                 a cell that was taken over
``curve CLAIM STUDY METHOD ROUND``        ``92.8``, the mean over seeds after a round
``evidence NAME WORDS``                   a part that `evidence_parts` makes of rows
========================================  =================================================

A method is ``METHOD``, after a round ``METHOD@200``, of another table ``TABLE:METHOD``. ``points``
and ``mean`` read cells that were taken over where a table has no rows of the method.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import evidence_parts
import result_rows

from benchmarks import one_digit
from benchmarks.evidence import evidence_rows


def figure(kind: str, *words: str) -> str:
    """A figure.

    Raises:
        ValueError: If there is no such kind, or no such rows.
    """
    kinds: dict[str, Callable[..., str]] = {
        "difference": difference,
        "gain": gain,
        "points": points,
        "by_seed": by_seed,
        "mean": mean,
        "spread": spread,
        "run": run,
        "cell": result_rows.taken_over,
        "curve": curve,
        "evidence": evidence,
    }
    if kind not in kinds:
        raise ValueError(f"a template asks for '{kind}'; there are {', '.join(kinds)}")
    return kinds[kind](*words)


def evidence(name: str, *words: str) -> str:
    """A part made of the rows of claims."""
    return evidence_parts.part(name, *words).rstrip("\n")


def difference(table: str, method: str, reference: str, word: str = " points") -> str:
    """``5.9 points [3.8, 8.0]``."""
    found = result_rows.difference(
        result_rows.found(table, method), result_rows.found(table, reference)
    )
    return f"{found.mean:.1f}{word} [{found.low:.1f}, {found.high:.1f}]"


def gain(table: str, method: str, reference: str) -> str:
    """``5.9 [3.8, 8.0]``."""
    return difference(table, method, reference, word="")


def points(
    table: str, method: str, reference: str, column: str = "mean", of: str | None = None
) -> str:
    """``5.9``: by how much a method's mean over seeds is above that of a reference."""
    return f"{_mean(table, method, column) - _mean(table, reference, of or column):.1f}"


def by_seed(table: str, method: str, reference: str) -> str:
    """``+1.8, -1.6 and +3.1``: the differences of single seeds."""
    values, base = (result_rows.found(table, name).of("mean") for name in (method, reference))
    *others, last = (one_digit.signed(values[seed] - base[seed]) for seed in sorted(values))
    return f"{', '.join(others)} and {last}"


def mean(table: str, method: str, column: str = "mean") -> str:
    """``83.0``: the mean over seeds."""
    return one_digit.plain(_mean(table, method, column))


def spread(table: str, method: str, column: str = "mean") -> str:
    """``72.0 ± 6.3``: mean and standard deviation over seeds."""
    return result_rows.spread(result_rows.found(table, method).of(column))


def run(table: str, method: str, seed: str) -> str:
    """``74.7``: the mean over domains of one seed.

    Raises:
        ValueError: If it was not run with this seed.
    """
    values = result_rows.found(table, method).of("mean")
    if int(seed) not in values:
        raise ValueError(f"'{table}' has no seed {seed} of '{method}'; there are {sorted(values)}")
    return one_digit.plain(values[int(seed)])


def curve(claim: str, study: str, method: str, server_round: str) -> str:
    """``92.8``: the mean of a claim's study after a round.

    Raises:
        ValueError: If it was not evaluated then.
    """
    rows = evidence_rows.read_curve(claim)
    own = rows[(rows["study"] == study) & (rows["method"] == method)]
    own = own[own["round"] == int(server_round)]
    if own.empty:
        raise ValueError(f"{claim} has no '{method}' in {study} after round {server_round}")
    return one_digit.plain(float(own["mean"].iloc[0]))


def _mean(table: str, source: str, column: str) -> float:
    table, name, _ = result_rows.place(table, source)
    if name in result_rows.names(table):
        return fmean(result_rows.found(table, source).of(column).values())
    return float(result_rows.taken_over(table, name, column).partition(" ")[0])
