"""A client's number of samples relative to the mean client's."""

from __future__ import annotations

from fedlab.clients.base import Received
from fedlab.losses.base import ClientStats
from fedlab.strategies.families.shares import MEAN_EXAMPLES


def share_of(received: Received, stats: ClientStats) -> float:
    """The client's labelled samples over the mean; 1 unless the server says what the mean is."""
    mean = received.config.get(MEAN_EXAMPLES)
    return max(int(stats.class_counts.sum()), 1) / float(mean) if mean else 1.0
