"""The rows of tables on their way from files to domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext


class Rows(NamedTuple):
    """The rows of a file or a domain: features, class indices, and the names of their owners."""

    features: np.ndarray
    labels: np.ndarray
    owners: Sequence[str] | None


def of_owners(read: Mapping[str, Rows]) -> Rows:
    """The rows of all files together; each file is an owner."""
    return Rows(
        np.concatenate([rows.features for rows in read.values()]),
        np.concatenate([rows.labels for rows in read.values()]),
        [name for name, rows in read.items() for _ in rows.labels],
    )


def all_splits(domains: Sequence[Domain]) -> list[np.ndarray]:
    """Training and test features, domain after domain."""
    return [split for each in domains for split in (each.train_inputs, each.test_inputs)]


def with_inputs(domains: Sequence[Domain], splits: Sequence[np.ndarray]) -> list[Domain]:
    """The same domains with other features, in the order of `all_splits`."""
    return [
        replace(each, train_inputs=splits[2 * index], test_inputs=splits[2 * index + 1])
        for index, each in enumerate(domains)
    ]


def learnt(domains: Sequence[Domain], context: LoadContext) -> np.ndarray:
    """The training rows of all domains but the unseen ones."""
    seen = [each.train_inputs for each in domains if each.name not in context.unseen_domains]
    return np.concatenate(seen or [each.train_inputs for each in domains])
