"""The confusion matrix, and the base of all metrics that follow from it."""

from __future__ import annotations

from typing import ClassVar

import torch

from fedlab.metrics.base import Counts, Metric


class ConfusionMetric(Metric):
    """A metric that follows from the confusion matrix."""

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """Samples by label and predicted class, int64 of shape (classes, classes)."""
        classes = outputs.shape[-1]
        cells = labels * classes + outputs.argmax(dim=-1)
        return {"matrix": torch.bincount(cells, minlength=classes**2).view(classes, classes)}


class Confusion(ConfusionMetric):
    """The confusion matrix itself, of each domain and of all clients together.

    It is no figure: the run keeps it in ``counts.csv``, and a report draws it.
    """

    name: str = "confusion"
    scalar: ClassVar[bool] = False
    of_clients: ClassVar[bool] = False
    counts_kept: ClassVar[bool] = True

    def compute(self, counts: Counts) -> dict[str, float]:
        """No figure: the matrix is a file of the run."""
        return {}
