"""A client's memory of the mean representation of each class, as named tensors.

``means`` of shape (classes, features), exponential moving averages that start from zeros; ``seen``
of shape (classes,), whether a class has been in any batch; ``dealt``, how many labels have been
dealt for synthetic representations. The rules are those of FRAug's authors' code
(HaokunChen245/FRAug); leaving out classes that were not seen is an option added here.
"""

from __future__ import annotations

import torch

from fedlab.constants import counted
from fedlab.records import Tensors


def empty_memory(classes: int, features: int, like: torch.Tensor) -> Tensors:
    """An empty memory, of the dtype and on the device of `like`."""
    return {
        "means": like.new_zeros((classes, features)),
        "seen": torch.zeros(classes, dtype=torch.bool, device=like.device),
        "dealt": torch.zeros((), dtype=torch.int64, device=like.device),
    }


def mark_seen(memory: Tensors, labels: torch.Tensor) -> None:
    """Marks the classes of a batch as seen, in place."""
    memory["seen"].index_fill_(0, labels, True)


def moved_means(
    means: torch.Tensor, features: torch.Tensor, kinds: torch.Tensor, rate: float
) -> torch.Tensor:
    """The class means after a batch: those of its classes moved towards those of the batch.

    Classes without a sample in the batch move by nothing, so that shapes do not depend on labels.

    Args:
        means: The means; not written to.
        features: Representations, shape (n, features).
        kinds: Their classes as zeros and ones, shape (n, classes).
        rate: Weight of the batch.
    """
    counts = kinds.sum(dim=0).unsqueeze(1)
    away = torch.addcmul(kinds.T @ features, counts, means, value=-1)  # Σ (feature - class mean)
    return torch.addcdiv(means, away, counts.clamp(min=1), value=rate)


def next_labels(memory: Tensors, size: int, *, only_seen: bool) -> torch.Tensor:
    """The next labels, each class in turn; ``dealt`` is not changed.

    Args:
        memory: The memory, of at least one class.
        size: How many.
        only_seen: Whether to leave out classes that have been in no batch.

    Returns:
        int64 of shape (size,).
    """
    places = memory["dealt"] + counted(size, memory["dealt"].device)
    if not only_seen:
        return places % len(memory["seen"])
    ranks = memory["seen"].cumsum(dim=0)  # of seen classes, from 1
    return torch.searchsorted(ranks, places % ranks[-1], right=True)
