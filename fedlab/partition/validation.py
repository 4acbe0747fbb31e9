"""Validation samples: a part of each client's training samples, set aside before all else."""

from __future__ import annotations

import logging

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.apportion import shuffled_groups

log = logging.getLogger("fedlab")


def held_out(
    train: np.ndarray,
    owners: np.ndarray,
    data: FederatedData,
    share: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which training samples clients validate on, stratified by domain and class within a client.

    A client sets aside the share of its samples, rounded to a whole number; each of its cells of
    domain and class gives in proportion, by the method of largest remainders, and keeps at least
    one sample. A client with too few samples has none to set aside and is told of.

    Args:
        train: Indices into the training pool, shape (n,).
        owners: The client of each, ascending.
        data: The pools.
        share: Between 0 and 1.
        rng: Decides who is chosen.

    Returns:
        bool of shape (n,).

    Raises:
        InputError: If nobody has a validation sample.
    """
    kinds = data.train.domains[train] * len(data.class_names) + data.train.labels[train]
    width = len(data.domain_names) * len(data.class_names)
    cells, cell_of, sizes = np.unique(
        owners * width + kinds, return_inverse=True, return_counts=True
    )
    owner_of = cells // width
    clients = int(owners.max(initial=-1)) + 1
    wanted = np.rint(share * np.bincount(owners, minlength=clients)).astype(np.int64)
    quotas = np.minimum(np.floor(share * sizes).astype(np.int64), sizes - 1)
    lacking = wanted - np.bincount(owner_of, quotas, minlength=clients).astype(np.int64)
    rest = np.where(quotas + 1 < sizes, share * sizes - quotas, -np.inf)
    order = np.lexsort((rng.random(len(cells)), -rest, owner_of))
    starts = np.searchsorted(owner_of[order], np.arange(clients))
    rank = np.arange(len(cells)) - starts[owner_of[order]]
    given = (rank < lacking[owner_of[order]]) & np.isfinite(rest[order])
    quotas[order[given]] += 1

    grouped = shuffled_groups(cell_of, rng)
    place = np.arange(len(train)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(train), bool)
    chosen[grouped[place < np.repeat(quotas, sizes)]] = True
    _tell(chosen, owners, data.train.labels[train], data, share)
    return chosen


def _tell(
    chosen: np.ndarray, owners: np.ndarray, labels: np.ndarray, data: FederatedData, share: float
) -> None:
    """Refuses a split without any validation sample; says who, and which class, has none."""
    if not chosen.any():
        raise InputError(
            f"evaluation.validation: a share of {share:g} sets no sample aside, for no client has "
            "two samples of a class to spare one; use a larger share, or fewer clients"
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
    if len(lacking := np.setdiff1d(labels, labels[chosen])):
        names = ", ".join(data.class_names[label] for label in lacking[:5])
        log.warning("no client has a validation sample of %s: too few samples each", names)
