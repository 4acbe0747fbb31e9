"""What clients see of the labels of their samples: which are known, wrong, or known of bags."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.partition.spec import PartitionSpec
from fedlab.rng import generator


class ObservedLabels(NamedTuple):
    """Labels as clients see them, aligned with the samples of all clients.

    Attributes:
        labels: Of shape (N, ...); with label proportions the shares of bags, (N, classes).
        labelled: Which of them are known at all, bool of shape (N,).
        bags: Number of each sample's bag, int64 of shape (N,), -1 for none; empty where labels
            are known.
    """

    labels: np.ndarray
    labelled: np.ndarray
    bags: np.ndarray


def observed_labels(
    spec: PartitionSpec,
    data: FederatedData,
    train: np.ndarray,
    owner: np.ndarray,
    clients: int,
    seed: int,
    *key: int,
) -> ObservedLabels:
    """Hides labels and makes them wrong, as the scenario says.

    Args:
        spec: The scenario's ``partition`` block.
        data: The pools.
        train: Indices into the training pool, client after client, int64 of shape (N,).
        owner: The client of each of them, likewise.
        clients: Number of clients that label noise is drawn for.
        seed: The scenario's seed.
        key: Ends the key of what is drawn; a device that draws for itself alone gives its number.

    Raises:
        InputError: If the noise makes no sense for these classes.
    """
    labelled = spec.label_budget.mask(
        data.strata(data.train)[train],
        owner,
        len(data.strata_names),
        generator(seed, "partition", "label budget", *key),
    )
    labels = spec.label_noise.corrupt(
        data.train.labels[train],
        owner,
        clients,
        data.class_names,
        generator(seed, "partition", "label noise", *key),
    )
    labels = spec.label_budget.known(
        labels, owner, labelled, generator(seed, "partition", "known positives", *key)
    )
    if not spec.label_proportions:
        return ObservedLabels(labels, labelled, train[:0])
    drawing = generator(seed, "partition", "bags", *key)
    found = spec.label_proportions.draw(labels, labelled, owner, len(data.class_names), drawing)
    return ObservedLabels(*found)
