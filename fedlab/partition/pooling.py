"""A partition in which one client has the samples of all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedlab.partition.partition import Partition


def pooled(partition: Partition) -> Partition:
    """Client 0 has the samples of all clients that may train.

    Held-out clients keep theirs and come after it, in their order.
    """
    held_out = set(partition.held_out.tolist())
    clients = range(len(partition))
    groups = [[k for k in clients if k not in held_out], *([k] for k in sorted(held_out))]
    train, train_offsets = _regrouped(partition.train_offsets, groups)
    test, test_offsets = _regrouped(partition.test_offsets, groups)
    aside, aside_offsets = partition.validation, partition.validation_offsets
    if len(aside_offsets):
        rows, aside_offsets = _regrouped(aside_offsets, groups)
        aside = aside[rows]
    return replace(
        partition,
        train=partition.train[train],
        labels=partition.labels[train],
        labelled=partition.labelled[train],
        bags=partition.bags[train] if len(partition.bags) else partition.bags,
        train_offsets=train_offsets,
        test=partition.test[test],
        test_offsets=test_offsets,
        validation=aside,
        validation_offsets=aside_offsets,
        held_out=np.arange(1, len(groups)),
        names=("0", *(partition.names[k] for k in sorted(held_out))) if partition.names else (),
    )


def _regrouped(offsets: np.ndarray, groups: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the groups, concatenated, and the offsets of the groups."""
    group_of = np.empty(len(offsets) - 1, np.int64)
    for place, group in enumerate(groups):
        group_of[group] = place
    owners = np.repeat(group_of, np.diff(offsets))
    sizes = np.bincount(owners, minlength=len(groups))
    return np.argsort(owners, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])
