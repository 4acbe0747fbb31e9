"""Which samples belong to which client: a pure function of (scenario, seed)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClientSplit:
    """The samples of one client.

    Attributes:
        train: Indices into the training pool, int64 of shape (n,).
        labels: The labels the client sees for them (after label noise), int64 of shape (n,).
        labelled: Whether each of them has a label at all (label budget), bool of shape (n,).
        test: Indices into the test pool, int64 of shape (m,).
    """

    train: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Partition:
    """The samples of all clients, in flat arrays: client k owns a slice of each.

    Flat because a population of 100,000 clients must not cost 100,000 Python objects.

    Attributes:
        train: Indices into the training pool, client after client, int64 of shape (N,).
        labels: Observed labels, aligned with `train`.
        labelled: Label budget mask, aligned with `train`.
        train_offsets: Client k owns train[train_offsets[k] : train_offsets[k + 1]].
        test: Indices into the test pool, client after client.
        test_offsets: As `train_offsets`, for `test`.
    """

    train: np.ndarray
    labels: np.ndarray
    labelled: np.ndarray
    train_offsets: np.ndarray
    test: np.ndarray
    test_offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.train_offsets) - 1

    def __getitem__(self, client: int) -> ClientSplit:
        train = slice(self.train_offsets[client], self.train_offsets[client + 1])
        test = slice(self.test_offsets[client], self.test_offsets[client + 1])
        return ClientSplit(
            self.train[train], self.labels[train], self.labelled[train], self.test[test]
        )
