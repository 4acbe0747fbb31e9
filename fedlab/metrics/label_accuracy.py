"""Accuracy of multi-label predictions: of single labels, and of whole sets."""

from __future__ import annotations

from typing import ClassVar

import torch

from fedlab.metrics.base import SampleMean
from fedlab.targets.base import MULTI_LABEL


class HammingAccuracy(SampleMean):
    """Share of all labels that are right at a probability of 0.5; 1 less the Hamming loss."""

    name: str = "hamming_accuracy"
    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The share of each sample, float32 of shape (n,)."""
        return ((outputs > 0) == (labels > 0)).float().mean(dim=-1)


class SubsetAccuracy(SampleMean):
    """Share of the samples all of whose labels are right at a probability of 0.5."""

    name: str = "subset_accuracy"
    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether each sample is right, bool of shape (n,)."""
        return ((outputs > 0) == (labels > 0)).all(dim=-1)
