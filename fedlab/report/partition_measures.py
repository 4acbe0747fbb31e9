"""Measures of a partition: counts, and how far clients differ."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.partition.partition import Partition
from fedlab.targets.base import MULTI_LABEL


def class_counts(
    partition: Partition, data: FederatedData, split: Literal["train", "test"] = "train"
) -> np.ndarray:
    """Samples of each client by their true class, int64 of shape (clients, classes).

    By stratum, where other targets than classes are learnt (`FederatedData.strata`).
    """
    pool = data.train if split == "train" else data.test
    return _counts(partition, split, data.strata(pool), len(data.strata_names))


def domain_counts(
    partition: Partition, data: FederatedData, split: Literal["train", "test"] = "train"
) -> np.ndarray:
    """Samples of each client by domain, int64 of shape (clients, domains)."""
    pool = data.train if split == "train" else data.test
    return _counts(partition, split, pool.domains, len(data.domain_names))


def _counts(
    partition: Partition, split: Literal["train", "test"], kinds: np.ndarray, number: int
) -> np.ndarray:
    indices = partition.train if split == "train" else partition.test
    offsets = partition.train_offsets if split == "train" else partition.test_offsets
    owners = np.repeat(np.arange(len(partition)), np.diff(offsets))
    flat = np.bincount(owners * number + kinds[indices], minlength=len(partition) * number)
    return flat.reshape(len(partition), number)


def known_positives(partition: Partition, data: FederatedData) -> float:
    """Share of the labels that hold, of labelled training samples, which clients know of.

    1 where other targets than several labels are learnt.
    """
    if data.target.kind != MULTI_LABEL:
        return 1.0
    holds = data.train.labels[partition.train[partition.labelled]] > 0
    known = partition.labels[partition.labelled] > 0
    return float((known & holds).sum() / max(holds.sum(), 1))


def wrong_labels(partition: Partition, data: FederatedData) -> float:
    """Share of the labels of training samples that are wrong; one that is not known is not."""
    true, observed = data.train.labels[partition.train], partition.labels
    wrong = observed > true if data.target.kind == MULTI_LABEL else observed != true
    return float(wrong.mean())


def label_distances(counts: np.ndarray) -> np.ndarray:
    """The distance of each client's label distribution from that of all clients together.

    Args:
        counts: Samples by class, shape (clients, classes), as from `class_counts`.

    Returns:
        Total-variation distances, float64 of shape (clients,): the share of a client's samples
        that would have to change class; 0 without label skew, towards 1 for clients of one rare
        class.
    """
    own = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pooled = counts.sum(axis=0) / max(counts.sum(), 1)
    return np.abs(own - pooled).sum(axis=1) / 2


def measures(partition: Partition, data: FederatedData) -> dict[str, np.ndarray]:
    """Measures of each client by name: arrays of shape (clients,)."""
    classes = class_counts(partition, data)
    return {
        "training samples": np.diff(partition.train_offsets),
        **_validation(partition),
        "test samples": np.diff(partition.test_offsets),
        "domains": np.count_nonzero(domain_counts(partition, data), axis=1),
        data.target.strata_nouns[1]: np.count_nonzero(classes, axis=1),
        "label skew": label_distances(classes),
    }


def _validation(partition: Partition) -> dict[str, np.ndarray]:
    offsets = partition.validation_offsets
    return {"validation samples": np.diff(offsets)} if len(offsets) else {}


def known_labels(partition: Partition, data: FederatedData) -> list[str]:
    """What clients know of their training samples' labels, in words, where that is not all."""
    parts = []
    if len(partition.bags):
        inside = partition.bags[partition.bags >= 0]
        bags = len(np.unique(inside))
        parts.append(f"{len(inside) / max(bags, 1):.3g} samples in each of {bags:,} bags")
        parts.append("labels known as shares of bags")
    if not partition.labelled.all():
        parts.append(f"{partition.labelled.mean():.1%} labelled")
    if len(partition.bags):
        return parts
    if (known := known_positives(partition, data)) < 1:
        parts.append(f"{known:.1%} of the labels that hold known")
    if wrong := wrong_labels(partition, data):
        parts.append(f"{wrong:.1%} of labels wrong")
    return parts
