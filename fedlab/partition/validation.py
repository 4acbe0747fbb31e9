"""Validation samples: a part of each client's training samples, set aside before all else."""

from __future__ import annotations

import logging

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.apportion import shuffled_groups
from fedlab.rng import generator

log = logging.getLogger("fedlab")


def set_aside(
    train: np.ndarray, owners: np.ndarray, data: FederatedData, share: float, seed: int
) -> np.ndarray:
    """Which training samples clients validate on.

    Each client draws by itself, so that a device draws as it would in a simulation. A client with
    too few samples has none to set aside, and is told of.

    Args:
        train: Indices into the training pool, shape (n,).
        owners: The client of each, ascending.
        data: The pools.
        share: Between 0 and 1.
        seed: The scenario's seed.

    Returns:
        bool of shape (n,).

    Raises:
        InputError: If nobody has a validation sample.
    """
    strata = data.strata(data.train)[train]
    kinds = data.train.domains[train] * len(data.strata_names) + strata
    chosen = np.zeros(len(train), bool)
    clients, starts = np.unique(owners, return_index=True)
    parts = np.split(np.arange(len(train)), starts[1:])
    for client, rows in zip(clients.tolist(), parts, strict=True):
        chosen[rows] = of_client(kinds[rows], share, seed, client)
    _tell(chosen, owners, strata, data, share)
    return chosen


def of_client(kinds: np.ndarray, share: float, seed: int, client: int) -> np.ndarray:
    """Which of its samples one client sets aside: the share of them, rounded, stratified.

    Each kind gives in proportion, by the method of largest remainders, and keeps one sample.

    Args:
        kinds: Domain and class of each sample in one number, shape (n,).
        share: Between 0 and 1.
        seed: The scenario's seed.
        client: The client.

    Returns:
        bool of shape (n,).
    """
    rng = generator(seed, "validation", client)
    _, place, sizes = np.unique(kinds, return_inverse=True, return_counts=True)
    exact = share * sizes
    quotas = np.floor(exact).astype(np.int64)
    spare = np.flatnonzero(quotas + 1 < sizes)
    lacking = max(round(share * len(kinds)) - int(quotas.sum()), 0)
    neediest = spare[np.lexsort((rng.random(len(spare)), quotas[spare] - exact[spare]))]
    quotas[neediest[:lacking]] += 1
    rank = np.arange(len(kinds)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(kinds), bool)
    chosen[shuffled_groups(place, rng)[rank < np.repeat(quotas, sizes)]] = True
    return chosen


def _tell(
    chosen: np.ndarray, owners: np.ndarray, labels: np.ndarray, data: FederatedData, share: float
) -> None:
    """Refuses a split without any validation sample; says who, and which class, has none."""
    if not chosen.any():
        raise InputError(
            f"evaluation.validation: a share of {share:g} sets no sample aside, for no client has "
            f"two samples of a {data.target.strata_nouns[0]} to spare one; use a larger share, or "
            "fewer clients"
        )
    everyone, some = np.unique(owners), np.unique(owners[chosen])
    if len(some) < len(everyone):
        log.warning(
            "%d of %d clients have too few samples to set any aside for validation (client %d, for "
            "one); the others validate",
            len(everyone) - len(some),
            len(everyone),
            np.setdiff1d(everyone, some)[0],
        )
    lacking: list[int] = np.setdiff1d(labels, labels[chosen]).tolist()
    if lacking:
        names = ", ".join(data.strata_names[label] for label in lacking[:5])
        log.warning("no client has a validation sample of %s: too few samples each", names)
