"""What rows say of a claim: paired differences, their intervals, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr

from benchmarks.evidence.claim import Claim, Pair
from fedlab.comparison.significance import LEVEL, holm
from fedlab.comparison.statistics import PairedDifference, paired_difference

Verdict = Literal["confirmed", "refuted", "undecided", "not run yet"]
Means = Mapping[tuple[str, str], Mapping[int, float]]
"""The mean over domains in per cent, by study and method, by seed."""


@dataclass(frozen=True)
class Judged:
    """A comparison with what was found.

    Attributes:
        pair: The comparison.
        difference: In points, paired by seed.
        p: Of the two-sided paired t test that the verdict rests on, corrected by Holm; NaN where it
            was not run.
        verdict: What follows.
    """

    pair: Pair
    difference: PairedDifference
    p: float
    verdict: Verdict


def judge(claim: Claim, means: Means) -> list[Judged]:
    """Every comparison of a claim."""
    found = [
        paired_difference(_of(means, p.study, p.method), _of(means, p.of, p.over))
        for p in claim.pairs
    ]
    keys = [f"{place}" for place in range(len(found))]
    of_zero = dict(zip(keys, map(p_value, found), strict=True))
    shifted = {
        key: p_value(difference, -(pair.no_worse_by or 0))
        for key, pair, difference in zip(keys, claim.pairs, found, strict=True)
    }
    ahead, behind = _corrected(shifted, len(keys)), _corrected(of_zero, len(keys))
    judged = []
    for key, pair, difference in zip(keys, claim.pairs, found, strict=True):
        verdict = _verdict(claim, pair, difference, ahead[key], behind[key])
        p = behind[key] if verdict == "refuted" else ahead[key]
        judged.append(Judged(pair, difference, p, verdict))
    return judged


def verdict_of(judged: list[Judged]) -> Verdict:
    """The verdict on a claim by those on its comparisons."""
    found = [one.verdict for one in judged]
    if "refuted" in found:
        return "refuted"
    if "not run yet" in found:
        return "not run yet"
    return "confirmed" if set(found) == {"confirmed"} else "undecided"


def p_value(difference: PairedDifference, against: float = 0.0) -> float:
    """The two-sided p of a paired t test; NaN below two pairs.

    Args:
        difference: The differences by seed.
        against: The difference under the null hypothesis.
    """
    values = np.asarray(difference.by_seed) - against
    if len(values) < 2:
        return math.nan
    spread = values.std(ddof=1) / math.sqrt(len(values))
    if spread == 0:
        return 0.0 if values.mean() else 1.0
    return float(2 * stdtr(len(values) - 1, -abs(values.mean() / spread)))


def _corrected(values: Mapping[str, float], count: int) -> dict[str, float]:
    """Holm's correction, in which comparisons that were not run count as the largest."""
    known = {key: p for key, p in values.items() if not math.isnan(p)}
    filled = known | {f"missing {place}": 1.0 for place in range(count - len(known))}
    corrected = holm(filled)
    return {key: corrected.get(key, math.nan) for key in values}


def _verdict(
    claim: Claim, pair: Pair, difference: PairedDifference, ahead: float, behind: float
) -> Verdict:
    if difference.pairs < claim.seeds:
        return "not run yet"
    if difference.mean < 0 and behind < LEVEL:
        return "refuted"
    return (
        "confirmed" if difference.mean > -(pair.no_worse_by or 0) and ahead < LEVEL else "undecided"
    )


def _of(means: Means, study: str, method: str) -> Mapping[int, float]:
    return means.get((study, method), {})
