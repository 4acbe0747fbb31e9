"""Recall by class, and balanced accuracy."""

from __future__ import annotations

from typing import ClassVar

import torch

from fedlab.metrics.base import Counts
from fedlab.metrics.confusion import ConfusionMetric


class Recall(ConfusionMetric):
    """Recall of each class: the share of its samples that are predicted as it.

    The figures are ``recall[0]``, ``recall[1]``, ..., of each domain and of all clients together;
    one is not defined for a class without samples.
    """

    name: str = "recall"
    scalar: ClassVar[bool] = False
    of_clients: ClassVar[bool] = False

    def compute(self, counts: Counts) -> dict[str, float]:
        """A figure for each class, by its index."""
        values = recalls(counts).tolist()
        return {f"{self.title}[{index}]": value for index, value in enumerate(values)}


class BalancedAccuracy(ConfusionMetric):
    """Mean recall over classes, each counting the same; classes without samples are left out."""

    name: str = "balanced_accuracy"

    def compute(self, counts: Counts) -> dict[str, float]:
        """The mean."""
        return {self.title: float(recalls(counts).nanmean())}


def recalls(counts: Counts) -> torch.Tensor:
    """Recall of every class, float64 of shape (classes,); NaN for one without samples."""
    matrix = counts["matrix"].double()
    return matrix.diagonal() / matrix.sum(dim=1)
