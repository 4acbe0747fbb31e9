"""Significance of differences: tests on pairs, corrections for many tests, ranks over scenarios."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedlab import rng

EXACT = 16
"""Pairs up to which all 2ⁿ ways of turning signs are gone through."""

DRAWS = 50_000
"""Ways of turning signs, or resamples, that are drawn where there are too many."""

LEVEL = 0.05
"""The p, corrected for the number of differences, below which a difference is claimed."""


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided p-value of paired differences by the sign-flip permutation test.

    Under the null hypothesis a difference is as likely as its negative. All 2ⁿ signs are gone
    through where n is at most `EXACT`; the least p is 2 / 2ⁿ. NaN for no pair.

    Fisher, The Design of Experiments, 1935 (section 21).
    """
    values = np.asarray(differences, np.float64)
    count = len(values)
    if not count or not np.isfinite(values).all():
        return math.nan
    if count <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=count)))
    else:
        drawn = rng.generator(0, "sign flips", count).integers(0, 2, (DRAWS, count))
        signs = np.vstack([np.ones(count), 1.0 - 2.0 * drawn])
    means = np.abs(signs @ values)
    # Differences of rounding count as equal.
    return float((means >= abs(values.sum()) - 1e-9 * max(np.abs(values).sum(), 1e-300)).mean())


def least_p(pairs: int, differences: int = 1) -> float:
    """The least p-value that `sign_flip`, corrected by `holm`, can have; 1 at most.

    Args:
        pairs: Pairs of each difference.
        differences: Their number, which the smallest p of all is multiplied by.
    """
    return min(1.0, differences * 2.0 ** (1 - pairs))


def enough_pairs(differences: int = 1) -> int:
    """The least number of pairs with which so many differences can be significant (`LEVEL`)."""
    return next(n for n in itertools.count(1) if least_p(n, differences) < LEVEL)


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected by Holm's method, for a family-wise error rate.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979. NaN stays NaN and is not
    counted.
    """
    known = sorted((p, name) for name, p in values.items() if not math.isnan(p))
    corrected, largest = dict.fromkeys(values, math.nan), 0.0
    for place, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * p))
        corrected[name] = largest
    return corrected


def probability_of_improvement(values: Sequence[float], others: Sequence[float]) -> float:
    """P(x > y), equals counted half, over all pairs of one with the other; NaN without pairs.

    Deep Reinforcement Learning at the Edge of the Statistical Precipice, Agarwal, Schwarzer,
    Castro, Courville, Bellemare, NeurIPS 2021, arXiv 2108.13264.
    """
    x, y = np.asarray(values, np.float64), np.asarray(others, np.float64)
    if not len(x) or not len(y):
        return math.nan
    above = (x[:, None] > y[None]).mean() + (x[:, None] == y[None]).mean() / 2
    return float(above)


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean without the lowest and the highest quarter (rounded down to whole numbers).

    Agarwal et al. 2021, as above; scipy's ``trim_mean(x, 0.25)``.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    if not len(ordered):
        return math.nan
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval.

    Attributes:
        value: The number.
        low: Its lower end.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


def stratified_bootstrap(
    tasks: Sequence[Sequence[float]],
    statistic: Callable[[np.ndarray], float] = interquartile_mean,
    confidence: float = 0.95,
) -> Interval:
    """A percentile interval of a statistic over tasks; runs are resampled in each task.

    With few runs of a task (below about ten) such an interval is too narrow.

    Args:
        tasks: The values of each task's runs.
        statistic: Of all values together.
        confidence: Share of the resamples inside.
    """
    values = [np.asarray(each, np.float64) for each in tasks]
    whole = statistic(np.concatenate(values)) if values else math.nan
    if math.isnan(whole):
        return Interval(whole, math.nan, math.nan)
    generator = rng.generator(0, "bootstrap", *(len(each) for each in values))
    found = [
        statistic(np.concatenate([generator.choice(each, len(each)) for each in values]))
        for _ in range(2_000)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(whole, float(low), float(high))


@dataclass(frozen=True)
class Ranks:
    """Methods over several tasks.

    Attributes:
        mean: Average rank of each method, 1 the best; methods that are equal share their ranks.
        statistic: Friedman's χ².
        p: Its probability if all methods were the same (χ² with k - 1 degrees of freedom).
        critical: How far average ranks must lie apart to differ at 5 % (Nemenyi).
    """

    mean: tuple[float, ...]
    statistic: float
    p: float
    critical: float


def average_ranks(scores: np.ndarray) -> Ranks:
    """Average ranks, Friedman's test and the critical difference.

    Statistical Comparisons of Classifiers over Multiple Data Sets, Demšar, JMLR 7, 2006:
    χ² = 12 N / (k (k + 1)) (Σ R_j² - k (k + 1)² / 4), CD = q √(k (k + 1) / 6 N). Ranks depend on
    who else is in the table, and tasks must not be domains of one run.

    Args:
        scores: Of shape (tasks, methods), higher is better.
    """
    from scipy.stats import chi2, rankdata, studentized_range

    tasks, methods = scores.shape
    mean = rankdata(-scores, axis=1).mean(axis=0)
    spread = float((mean**2).sum()) - methods * (methods + 1) ** 2 / 4
    statistic = 12 * tasks / (methods * (methods + 1)) * spread
    # Nemenyi's q is Studentised range over √2, with infinitely many degrees of freedom.
    q = float(studentized_range.ppf(0.95, methods, np.inf)) / math.sqrt(2)
    critical = q * math.sqrt(methods * (methods + 1) / (6 * tasks))
    p = float(chi2.sf(statistic, methods - 1))
    return Ranks(tuple(map(float, mean)), float(statistic), p, critical)
