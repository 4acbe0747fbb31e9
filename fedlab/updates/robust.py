"""Coordinate-wise robust rules, on which a few clients have a bounded influence.

Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, Yin, Chen, Ramchandran,
Bartlett, ICML 2018, arXiv 1803.01498 (definitions 1 and 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import Field

from fedlab.updates.base import AggregationRule


class Median(AggregationRule):
    """The median of every coordinate; of an even number of clients, the mean of the middle two."""

    name: str = "median"

    def combine(self, tensors: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """The coordinates' medians."""
        ordered = tensors.sort(dim=0).values
        count = len(ordered)
        return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


class TrimmedMean(AggregationRule):
    """The mean of every coordinate without its largest and its smallest values.

    Attributes:
        share: β, the share of the clients that is left out on either side, rounded up; at least
            the share of malicious clients.
    """

    name: str = "trimmed_mean"
    share: float = Field(default=0.1, gt=0, lt=0.5)

    def trimmed(self, clients: int) -> int:
        """Number of clients that are left out on either side."""
        return math.ceil(self.share * clients - 1e-9)

    def combine(self, tensors: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
        """The means of the remaining values."""
        cut = self.trimmed(len(tensors))
        return tensors.sort(dim=0).values[cut : len(tensors) - cut].mean(dim=0)

    def least(self, clients: int) -> str:
        """Why no value would remain; empty if some do."""
        cut = self.trimmed(clients)
        return (
            f"it leaves out {cut} of {clients} clients on either side" if 2 * cut >= clients else ""
        )
