"""Training samples that no client uses, as if the sources had not yielded them to a client."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.errors import InputError


def check_left_out(samples: Sequence[int]) -> None:
    """Refuses indices that cannot be, or stand there twice.

    Raises:
        ValueError: With the first.
    """
    if strange := [sample for sample in samples if sample < 0]:
        raise ValueError(f"left_out_samples: {strange[0]} is no index; indices start at 0")
    if len(set(samples)) < len(samples):
        raise ValueError("left_out_samples: name each sample once")


def staying(
    train: np.ndarray, offsets: np.ndarray, samples: Sequence[int], names: Sequence[str]
) -> np.ndarray:
    """Which training samples are used, bool of shape (N,).

    Args:
        train: Indices into the training pool, client after client, int64 of shape (N,).
        offsets: Client k owns train[offsets[k] : offsets[k + 1]].
        samples: Indices into the training pool that no client uses.
        names: What clients are called; empty where they have numbers.

    Raises:
        InputError: If no client trains on one of them, or a client would have none left.
    """
    stay = ~np.isin(train, samples)
    unknown = np.setdiff1d(samples, train)
    if len(unknown):
        raise InputError(
            f"partition.left_out_samples: no client trains on sample {int(unknown[0])} of the "
            "training pool; take it out of the list"
        )
    sizes = np.diff(offsets)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    left = np.bincount(owners[stay], minlength=len(sizes))
    empty = np.flatnonzero((sizes > 0) & (left == 0))
    if len(empty):
        client = names[empty[0]] if names else str(empty[0])
        raise InputError(
            f"partition.left_out_samples: client {client} would have no training samples left; "
            "name it in partition.held_out_clients instead"
        )
    return stay
