"""The mean number of samples of a client, as a server estimates it from replies."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors

MEAN_EXAMPLES = "mean-examples"
"""The plain value that goes down: mean number of samples of a client."""


def sizes_with(before: Tensors, updates: Sequence[ClientUpdate]) -> Tensors:
    """The total of samples in all updates so far, and the number of updates.

    Args:
        before: The same before this round; empty in the first.
        updates: The round's.
    """
    news = {"examples": sum(update.examples for update in updates), "updates": len(updates)}
    return {
        name: torch.tensor(float(new), dtype=torch.float64) + before.get(name, 0.0)
        for name, new in news.items()
    }


def mean_examples(sizes: Tensors) -> dict[str, float]:
    """The value sent down: the mean number of samples of a client, once it is known."""
    return {MEAN_EXAMPLES: float(sizes["examples"] / sizes["updates"])} if sizes else {}
