"""Samples dealt to clients, before any are set aside, hidden or relabelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedlab.data.stratify import shuffled_groups


@dataclass(frozen=True)
class Dealt:
    """The samples of clients, in flat arrays as those of a partition.

    Attributes:
        train: Indices into the training pool, client after client, int64 of shape (N,).
        train_offsets: Client k owns train[train_offsets[k] : train_offsets[k + 1]].
        test: Indices into the test pool, client after client.
        test_offsets: As `train_offsets`, for `test`.
        names: What clients are called; empty where they have numbers alone.
        newcomers: The last so many clients have test samples alone.
    """

    train: np.ndarray
    train_offsets: np.ndarray
    test: np.ndarray
    test_offsets: np.ndarray
    names: tuple[str, ...] = ()
    newcomers: int = 0

    def __len__(self) -> int:
        return len(self.train_offsets) - 1


def by_client(owners: np.ndarray, clients: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples of each client.

    Args:
        owners: The client of each sample of a pool, -1 for none.
        clients: How many clients there are.

    Returns:
        Indices of the samples, client after client and ascending within a client; where each
        client's begin, and where the last one's end.
    """
    used = np.flatnonzero(owners >= 0)
    return used[np.argsort(owners[used], kind="stable")], offsets_of(owners[used], clients)


def offsets_of(owners: np.ndarray, clients: int) -> np.ndarray:
    """The start of each client's samples, and the end of the last one's, int64."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=clients))])


def keep(owners: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Owners after each client dropped all but `kept` of its samples, drawn at random.

    Args:
        owners: The client of each sample, -1 for none.
        kept: How many each owner keeps.
        rng: Draws them.
    """
    sizes = np.bincount(owners[owners >= 0], minlength=len(kept))
    if (kept == sizes).all():
        return owners
    used = np.flatnonzero(owners >= 0)
    grouped = used[shuffled_groups(owners[used], rng)]
    rank = np.arange(len(grouped)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    stay = grouped[rank < np.repeat(kept, sizes)]
    remaining = np.full_like(owners, -1)
    remaining[stay] = owners[stay]
    return remaining
