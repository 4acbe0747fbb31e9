"""What the rows say of all claims, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas

from benchmarks.evidence import claim as claims
from benchmarks.evidence import evidence_rows
from benchmarks.evidence.claim import Claim
from benchmarks.evidence.verdict import Judged, Means, Verdict, judge, verdict_of
from benchmarks.one_digit import interval, signed, with_interval

FLAT = 1.0
"""Points of which a flat curve gains less in the last quarter of the rounds."""


class Summed(NamedTuple):
    """A claim with all that its rows say.

    Attributes:
        claim: The claim.
        judged: Its comparisons.
        verdict: The verdict.
        steep: Study and method of compared curves that are not flat.
    """

    claim: Claim
    judged: list[Judged]
    verdict: Verdict
    steep: list[tuple[str, str]]


def summed(results: Path = evidence_rows.RESULTS) -> list[Summed]:
    """All claims, in the order of docs/evidence.md."""
    found = []
    for name in claims.names():
        claim = claims.read(name)
        judged = judge(claim, means_of(evidence_rows.read(name, results)))
        steep = not_flat(claim, evidence_rows.read_curve(name, results))
        found.append(Summed(claim, judged, verdict_of(judged), steep))
    return found


def means_of(rows: pandas.DataFrame) -> Means:
    """The means over domains, by study and method, by seed."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for study, method, seed, mean in rows[["study", "method", "seed", "mean"]].itertuples(
        index=False
    ):
        found.setdefault((study, method), {})[int(seed)] = float(mean)
    return found


def not_flat(claim: Claim, curves: pandas.DataFrame) -> list[tuple[str, str]]:
    """Study and method of the compared curves that still rise by `FLAT` points or more."""
    places = dict.fromkeys(
        place for pair in claim.pairs for place in ((pair.study, pair.method), (pair.of, pair.over))
    )
    steep = []
    for study, method in places:
        curve = curves[(curves["study"] == study) & (curves["method"] == method)]
        if curve.empty:
            continue
        if not round(last_quarter(curve), 3) < FLAT:  # rows have three decimals
            steep.append((study, method))
    return steep


def last_quarter(curve: pandas.DataFrame) -> float:
    """What a method's mean gained in the last quarter of the rounds; NaN without rounds before it.

    Args:
        curve: Rows of one method of one study, as `evidence_rows.read_curve` has them.
    """
    by_round = curve.set_index("round")["mean"]
    last = by_round.index.max()
    before = by_round[by_round.index <= 0.75 * last]
    return float(by_round[last] - before.iloc[-1]) if len(before) else math.nan


def overview(found: Iterable[Summed], link: str = "") -> str:
    """One line a claim.

    Args:
        found: The claims.
        link: Where a claim's section is, before its anchor.
    """
    lines = ["| claim | verdict | comparisons | largest and smallest difference | seeds |"]
    lines += ["|---|---|---|---|---|"]
    for claim, judged, verdict, _ in found:
        there = [one for one in judged if one.difference.pairs > 1]
        kinds = [f"{sum(one.verdict == kind for one in there)} {kind}" for kind in KINDS]
        done = ", ".join(kind for kind in kinds if not kind.startswith("0 "))
        lines.append(
            f"| [({claim.letter}) {claim.title}]({link}#{anchor(claim)}) | **{verdict}** | "
            f"{done or 'none'} of {len(judged)} | {_extremes(there)} | {_seeds(there)} |"
        )
    return "\n".join(lines) + "\n"


KINDS: tuple[Verdict, ...] = ("confirmed", "refuted", "undecided")


def details(one: Summed) -> str:
    """A table of the comparisons of a claim."""
    lines = ["| comparison | difference | 95 % interval | p (Holm) | seeds | verdict |"]
    lines += ["|---|---|---|---|---|---|"]
    for pair, difference, p, verdict in (
        (j.pair, j.difference, j.p, j.verdict) for j in one.judged
    ):
        if difference.pairs < 2:
            lines.append(f"| {pair.words} | | | | {difference.pairs} | {verdict} |")
            continue
        lines.append(
            f"| {pair.words} | {signed(difference.mean)} | {interval(difference)} | {_p(p)} | "
            f"{difference.pairs} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def report(results: Path = evidence_rows.RESULTS) -> str:
    """All claims, and below the comparisons of those that have rows."""
    found = summed(results)
    parts = [overview(found)]
    for one in found:
        if any(judged.difference.pairs for judged in one.judged):
            parts.append(f"({one.claim.letter}) {one.claim.title}: {one.verdict}\n\n{details(one)}")
            parts += [f"not flat: {study}, {method}\n" for study, method in one.steep]
    return "\n".join(parts)


def anchor(claim: Claim) -> str:
    """The anchor of a claim's heading on the page of results."""
    return f"claim-{claim.letter}"


def _extremes(judged: list[Judged]) -> str:
    if not judged:
        return ""
    ordered = sorted((one.difference for one in judged), key=lambda difference: difference.mean)
    ends = [ordered[-1], ordered[0]] if len(ordered) > 1 else ordered
    return ", ".join(map(with_interval, ends))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _seeds(judged: list[Judged]) -> str:
    counts = sorted({one.difference.pairs for one in judged})
    return (
        "" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    )
