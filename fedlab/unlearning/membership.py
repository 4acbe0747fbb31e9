"""A membership attack by a loss threshold: does it separate training samples from unseen ones?

Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting, Yeom, Giacomelli,
Fredrikson, Jha, CSF 2018, arXiv 1709.01604: a sample is taken for a member where its loss is low.
Over all thresholds, that is the area under the ROC curve: the chance that a member's loss is below
that of a sample which was never trained on. 0.5 is chance; less than that means that the loss of
members is conspicuously high, which gives them away as well.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054
"""The normal distribution's 0.975 quantile."""


class Attack(NamedTuple):
    """The result of a loss threshold.

    Attributes:
        auc: Area under the ROC curve.
        low: Lower end of its 95 % interval.
        high: Upper end.
        members: Samples that were trained on.
        others: Samples that never were.
    """

    auc: float
    low: float
    high: float
    members: int
    others: int

    @property
    def at_chance(self) -> bool:
        """Whether the interval holds 0.5."""
        return self.low <= 0.5 <= self.high


def attack(
    members: np.ndarray, member_cells: np.ndarray, others: np.ndarray, other_cells: np.ndarray
) -> Attack:
    """The area under the ROC curve of a loss threshold, with its interval.

    Unseen samples are weighted so that their cells (domain and class) have the shares that they
    have among the members: otherwise the threshold would separate hard classes from easy ones. The
    variance is DeLong's (Biometrics 1988), with these weights; the interval is the normal one, cut
    at 0 and 1.

    Args:
        members: Losses of samples that were trained on, shape (m,).
        member_cells: The cell of each, int64 of shape (m,).
        others: Losses of unseen samples, shape (n,).
        other_cells: The cell of each, int64 of shape (n,).

    Returns:
        The area; not a number where no member has an unseen sample of its cell, and an interval
        from 0 to 1 where there are fewer than two of either kind.
    """
    known = np.isin(member_cells, other_cells)
    members, member_cells = members[known], member_cells[known]
    wanted = np.isin(other_cells, member_cells)
    others, other_cells = others[wanted], other_cells[wanted]
    m, n = len(members), len(others)
    if not m:
        return Attack(math.nan, 0.0, 1.0, 0, 0)
    cells = int(max(member_cells.max(), other_cells.max())) + 1
    own, unseen = (np.bincount(each, minlength=cells) for each in (member_cells, other_cells))
    weights = (own[other_cells] / unseen[other_cells]) / m  # they add up to 1
    lower = (members[:, None] < others) + 0.5 * (members[:, None] == others)
    of_member, of_other = lower @ weights, lower.mean(axis=0)
    auc = float(of_member.mean())
    if m < 2 or n < 2:
        return Attack(auc, 0.0, 1.0, m, n)
    effective = 1 / np.square(weights).sum()
    spread = np.square(weights * (of_other - auc)).sum() * effective / (effective - 1)
    deviation = math.sqrt(of_member.var(ddof=1) / m + spread)
    low, high = max(0.0, auc - Z * deviation), min(1.0, auc + Z * deviation)
    return Attack(auc, low, high, m, n)
