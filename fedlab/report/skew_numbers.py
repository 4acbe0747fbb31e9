"""Measures of skew: of labels, of sizes, and of features.

P_k is client k's distribution of labels over its training samples; clients without samples do not
count. Domains and classes have no order, so that no measure here uses one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PAIRS = 2_000
"""Clients up to which all pairs are compared; of more, this many are taken, evenly spaced."""


def distributions(counts: np.ndarray) -> np.ndarray:
    """The label distribution of every client that has samples, float64 of shape (clients, classes).

    Args:
        counts: Samples by class, shape (clients, classes).
    """
    own = counts[counts.sum(axis=1) > 0].astype(np.float64)
    return own / own.sum(axis=1, keepdims=True)


def total_variation(shares: np.ndarray) -> float:
    """Mean over pairs of clients of ½ Σ_c |P_i(c) - P_j(c)|: 0 for equal labels, 1 for disjoint.

    The share of one client's samples that would have to change class for it to be like the other.
    """
    return _mean_over_pairs(shares, lambda one, others: np.abs(one - others).sum(axis=1) / 2)


def hellinger(shares: np.ndarray) -> float:
    """Root mean square over pairs of √(½ Σ_c (√P_i(c) - √P_j(c))²); from 0 to 1."""
    roots = np.sqrt(shares)
    return float(
        np.sqrt(_mean_over_pairs(roots, lambda one, others: ((one - others) ** 2).sum(axis=1) / 2))
    )


def jensen_shannon(shares: np.ndarray) -> float:
    """H(mean P) - mean H(P) in bits, every client counting the same.

    From 0 to the logarithm of the number of classes, or clients if these are fewer.
    """
    if not len(shares):
        return 0.0
    return max(0.0, round(float(_entropy(shares.mean(axis=0)) - _entropy(shares).mean()), 12))


def gini(sizes: np.ndarray) -> float:
    """The Gini coefficient of sizes: 0 for equal ones, towards 1 if one client has all samples.

    Σ_i (2i - n - 1) x_(i) / (n Σ x), x sorted.
    """
    ordered = np.sort(np.asarray(sizes, np.float64))
    count, total = len(ordered), ordered.sum()
    if not total:
        return 0.0
    return float(((2 * np.arange(1, count + 1) - count - 1) * ordered).sum() / (count * total))


def effective_clients(sizes: np.ndarray) -> float:
    """1 / Σ p_k², p_k = n_k / Σ n: the effective number of clients."""
    shares = np.asarray(sizes, np.float64) / max(np.sum(sizes), 1)
    return float(1 / max((shares**2).sum(), 1e-300))


def skew_numbers(classes: np.ndarray) -> dict[str, float]:
    """All measures, by name.

    Args:
        classes: Training samples by class, shape (clients, classes).
    """
    shares, sizes = distributions(classes), classes.sum(axis=1)
    return {
        "label skew between clients (total variation)": total_variation(shares),
        "label skew (Jensen-Shannon, bits)": jensen_shannon(shares),
        "label skew (Hellinger)": hellinger(shares),
        "quantity skew (Gini)": gini(sizes),
        "effective clients": effective_clients(sizes),
    }


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in bits, along the last axis."""
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


def _mean_over_pairs(
    rows: np.ndarray, distances: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> float:
    """The mean of a distance over all pairs of rows; 0 for a single one."""
    if len(rows) > PAIRS:
        rows = rows[np.linspace(0, len(rows) - 1, PAIRS).round().astype(int)]
    if len(rows) < 2:
        return 0.0
    total = sum(float(distances(row, rows[i + 1 :]).sum()) for i, row in enumerate(rows[:-1]))
    return total / (len(rows) * (len(rows) - 1) / 2)
