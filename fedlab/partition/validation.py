"""Validation samples: a part of each client's training samples, set aside before all else."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from fedlab.data.owner_split import rank
from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.natural_clients import label_of
from fedlab.rng import uniforms

log = logging.getLogger("fedlab")


def set_aside(
    train: np.ndarray,
    owners: np.ndarray,
    data: FederatedData,
    share: float,
    seed: int,
    names: Sequence[str] = (),
) -> np.ndarray:
    """The training samples that clients set aside for validation.

    Each client draws by itself, so that a device draws as it would in a simulation. A client with
    too few samples sets none aside, which is logged.

    Args:
        train: Indices into the training pool, shape (n,).
        owners: The client of each, ascending.
        data: The pools.
        share: Between 0 and 1.
        seed: The scenario's seed.
        names: What clients are called; empty where they have numbers.

    Returns:
        bool of shape (n,).

    Raises:
        InputError: If no client has a validation sample.
    """
    strata = data.strata(data.train)[train]
    kinds = data.train.domains[train] * len(data.strata_names) + strata
    chosen = of_clients(owners, kinds, share, seed)
    _log_lacking(chosen, owners, strata, data, share, names)
    return chosen


def of_clients(owners: np.ndarray, kinds: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which samples each client sets aside, stratified; their number is the rounded share.

    Each kind gives in proportion, by the method of largest remainders, and keeps one sample.

    Args:
        owners: The client of each sample, ascending, shape (n,).
        kinds: Domain and class of each sample in one number, shape (n,).
        share: Between 0 and 1.
        seed: The scenario's seed.

    Returns:
        bool of shape (n,).
    """
    width = int(kinds.max(initial=0)) + 1
    cells = owners * width + kinds
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(cells)))
    client = cells[order[starts]] // width
    exact = share * sizes
    quotas = np.floor(exact).astype(np.int64)
    lacking = np.rint(share * np.bincount(client, sizes)) - np.bincount(client, quotas)
    spare = np.flatnonzero(quotas + 1 < sizes)
    ties = uniforms(seed, "validation kinds", client, rank(client))[spare]
    neediest = spare[np.lexsort((ties, (quotas - exact)[spare], client[spare]))]
    quotas[neediest[rank(client[neediest]) < lacking[client[neediest]]]] += 1

    rows = order[np.repeat(quotas > 0, sizes)]  # of many small clients most give nothing
    draws = uniforms(seed, "validation", owners[rows], rank(owners)[rows])
    dealt = rows[np.lexsort((draws, cells[rows]))]
    chosen = np.zeros(len(cells), bool)
    chosen[dealt[rank(cells[dealt]) < np.repeat(quotas, sizes * (quotas > 0))]] = True
    return chosen


def _log_lacking(
    chosen: np.ndarray,
    owners: np.ndarray,
    labels: np.ndarray,
    data: FederatedData,
    share: float,
    names: Sequence[str],
) -> None:
    """Refuses a split without any validation sample; logs clients and classes without one."""
    if not chosen.any():
        raise InputError(
            f"evaluation.validation: a share of {share:g} sets no sample aside, for no client has "
            f"two samples of a {data.target.strata_nouns[0]} to spare one; use a larger share, or "
            "fewer clients"
        )
    everyone, some = np.unique(owners), np.unique(owners[chosen])
    if len(some) < len(everyone):
        first = int(np.setdiff1d(everyone, some)[0])
        log.warning(
            "%d of %d clients have too few samples to set any aside for validation (%s, for "
            "one); the others validate",
            len(everyone) - len(some),
            len(everyone),
            label_of(first, names[first] if names else None),
        )
    lacking: list[int] = np.setdiff1d(labels, labels[chosen]).tolist()
    if lacking:
        names = ", ".join(data.strata_names[label] for label in lacking[:5])
        log.warning("no client has a validation sample of %s: too few samples each", names)
