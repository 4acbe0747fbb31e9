"""Training and test splits of samples with owners: within each owner, or by owner."""

from __future__ import annotations

import numpy as np


def split_within(
    labels: np.ndarray, owners: np.ndarray, test_share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Splits each owner's samples separately, stratified by class.

    An owner's test samples are the share of its samples, rounded, at least one of two, and never
    all; within it each class gives in proportion, by the method of largest remainders.

    Args:
        labels: Class indices, shape (n,).
        owners: Owner indices, shape (n,).
        test_share: Between 0 and 1.
        generator: Decides which samples of a class are taken, and which class rounds up.

    Returns:
        Indices of the training and of the test samples, both sorted.
    """
    classes = int(labels.max(initial=0)) + 1
    cells, place, sizes = np.unique(
        owners * classes + labels, return_inverse=True, return_counts=True
    )
    owner_of_cell, cell_of_owner = np.unique(cells // classes, return_inverse=True)
    owned = np.bincount(cell_of_owner, sizes, len(owner_of_cell)).astype(np.int64)
    wanted = np.clip(np.rint(test_share * owned).astype(np.int64), np.minimum(1, owned - 1), None)
    wanted = np.minimum(wanted, owned - 1)

    exact = sizes * (wanted / owned)[cell_of_owner]
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    lacking = wanted - np.bincount(cell_of_owner, quotas, len(wanted)).astype(np.int64)
    order = np.lexsort((generator.random(len(cells)), quotas - exact, cell_of_owner))
    quotas[order[rank(cell_of_owner[order]) < lacking[cell_of_owner[order]]]] += 1

    shuffled = generator.permutation(len(labels))
    dealt = shuffled[np.argsort(place[shuffled], kind="stable")]
    is_test = np.zeros(len(labels), bool)
    is_test[dealt[rank(place[dealt]) < quotas[place[dealt]]]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def split_by_owner(
    owners: np.ndarray, test_share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws owners for the test split, at least one and never all of them.

    Args:
        owners: Owner indices, shape (n,), of two owners or more.
        test_share: Share of the owners.
        generator: Draws them.

    Returns:
        Indices of the training and of the test samples, both sorted.
    """
    everyone = np.unique(owners)
    count = min(max(round(test_share * len(everyone)), 1), len(everyone) - 1)
    tested = np.isin(owners, generator.choice(everyone, count, replace=False))
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def rank(groups: np.ndarray) -> np.ndarray:
    """The index of each element within its group, where groups (from 0 on) are contiguous."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(np.append(starts, len(groups)))
    return np.arange(len(groups)) - np.repeat(starts, sizes)
