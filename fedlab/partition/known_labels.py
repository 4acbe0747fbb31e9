"""What clients know of their labels: which of them, and how many of these are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.rng import generator

if TYPE_CHECKING:
    from fedlab.partition.spec import PartitionSpec


def known_labels(
    spec: PartitionSpec,
    data: FederatedData,
    train: np.ndarray,
    owner: np.ndarray,
    clients: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as clients see them, by the label budget and the label noise of a scenario.

    Args:
        spec: The scenario's ``partition`` block.
        data: The pools.
        train: Indices into the training pool, int64 of shape (N,).
        owner: The client of each, int64 of shape (N,).
        clients: Clients that may train.
        seed: The scenario's seed.

    Returns:
        Observed labels, as stored, shape (N, ...); and whether each sample is labelled, bool of
        shape (N,).
    """
    labelled = spec.label_budget.mask(
        data.strata(data.train)[train],
        owner,
        len(data.strata_names),
        generator(seed, "partition", "label budget"),
    )
    observed = spec.label_noise.corrupt(
        data.train.labels[train],
        owner,
        clients,
        data.class_names,
        generator(seed, "partition", "label noise"),
    )
    drawing = generator(seed, "partition", "known positives")
    return spec.label_budget.known(observed, owner, labelled, drawing), labelled
