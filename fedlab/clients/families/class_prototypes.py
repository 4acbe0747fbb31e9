"""A client's memory of the mean representation of each class, as named tensors.

``means`` of shape (classes, features), exponential moving averages that start from zeros; ``seen``
of shape (classes,), whether a class has been in any batch; ``dealt``, how many labels have been
dealt for synthetic representations. The rules are those of FRAug's authors' code
(HaokunChen245/FRAug); leaving out classes that were not seen is an option added here.
"""

from __future__ import annotations

import torch

from fedlab.records import Tensors


def empty_memory(classes: int, features: int, like: torch.Tensor) -> Tensors:
    """An empty memory, of the dtype and on the device of `like`."""
    return {
        "means": like.new_zeros((classes, features)),
        "seen": torch.zeros(classes, dtype=torch.bool, device=like.device),
        "dealt": torch.zeros((), dtype=torch.int64, device=like.device),
    }


@torch.no_grad()
def remember(memory: Tensors, features: torch.Tensor, labels: torch.Tensor, rate: float) -> None:
    """Moves the means of a batch's classes towards those of the batch, in place.

    Args:
        memory: The memory.
        features: Representations, shape (n, features).
        labels: Their classes, shape (n,).
        rate: Weight of the batch.
    """
    present, place = labels.unique(return_inverse=True)
    sums = features.new_zeros((len(present), features.shape[1])).index_add_(0, place, features)
    found = sums / place.bincount().unsqueeze(1)
    memory["means"][present] = memory["means"][present].lerp(found, rate)
    memory["seen"][present] = True


def next_labels(memory: Tensors, size: int, *, only_seen: bool) -> torch.Tensor:
    """The next labels, each class in turn; ``dealt`` is not changed.

    Args:
        memory: The memory, of at least one class.
        size: How many.
        only_seen: Whether to leave out classes that have been in no batch.

    Returns:
        int64 of shape (size,).
    """
    classes = memory["seen"] if only_seen else torch.ones_like(memory["seen"])
    deck = classes.nonzero().flatten()
    return deck[(memory["dealt"] + torch.arange(size, device=deck.device)) % len(deck)]
