"""Stratified sampling and splitting: every class keeps its share."""

from __future__ import annotations

import numpy as np

from fedlab.data.owner_split import split_by_owner, split_within
from fedlab.data.owners import Owners, OwnerSplit, owned
from fedlab.data.samples import Domain
from fedlab.errors import InputError
from fedlab.targets.base import Target


def shuffled_groups(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The order that sorts `groups` and is random within each of them, int64 of shape (n,)."""
    shuffled = rng.permutation(len(groups))
    return shuffled[np.argsort(groups[shuffled], kind="stable")]


def choose(labels: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws samples without replacement, each class in proportion to its size.

    Quotas are rounded by the method of largest remainders, so that they add up to `count`.

    Args:
        labels: Class indices, shape (n,).
        count: Samples wanted; all are taken where there are no more.
        generator: Decides which samples of a class are taken.

    Returns:
        Sorted indices, int64 of shape (min(count, n),).
    """
    if count >= len(labels):
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    exact = sizes * count / len(labels)
    quotas = np.floor(exact).astype(np.int64)
    neediest = np.argsort(quotas - exact, kind="stable")
    quotas[neediest[: count - quotas.sum()]] += 1
    order = shuffled_groups(labels, generator)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < np.repeat(quotas, sizes)])


def deal(labels: np.ndarray, parts: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Splits samples into disjoint parts whose sizes differ by at most one, class by class.

    Args:
        labels: Class indices, shape (n,).
        parts: Number of parts.
        generator: Decides which samples of a class go where.

    Returns:
        Sorted indices of each part, int64.
    """
    order = shuffled_groups(labels, generator)
    return [np.sort(order[part::parts]) for part in range(parts)]


def split(
    labels: np.ndarray, test_share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test samples, stratified, both sorted."""
    test = choose(labels, round(test_share * len(labels)), generator)
    return np.setdiff1d(np.arange(len(labels)), test), test


def split_domain(
    name: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    test_share: float,
    generator: np.random.Generator,
    owners: Owners | None = None,
    how: OwnerSplit = "within_owners",
    target: Target | None = None,
) -> Domain:
    """A domain from samples without a test split; stratified by class by default."""
    kinds = target.kinds(labels) if target else labels
    if owners is None:
        train, test = split(kinds, test_share, generator)
    elif how == "by_owner":
        if not np.any(owners.codes != owners.codes[:1]):
            raise InputError(
                f"split: by_owner: domain '{name}' has the one owner '{owners.names[0]}', who "
                "cannot be both trained and tested; use split: within_owners"
            )
        train, test = split_by_owner(owners.codes, test_share, generator)
    else:
        train, test = split_within(kinds, owners.codes, test_share, generator)
    made = Domain(name, inputs[train], labels[train], inputs[test], labels[test], class_names)
    return owned(made, owners and owners.take(np.concatenate([train, test])))
