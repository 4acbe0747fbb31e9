"""Accuracy and top-k accuracy."""

from __future__ import annotations

from functools import cached_property

import torch
from pydantic import PositiveInt

from fedlab.errors import InputError
from fedlab.metrics.base import SampleMean


class Accuracy(SampleMean):
    """Share of the samples whose label has the highest output."""

    name: str = "accuracy"

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether each sample is right, bool of shape (n,)."""
        return outputs.argmax(dim=-1) == labels


class TopKAccuracy(SampleMean):
    """Share of the samples whose label is among the k highest outputs.

    Attributes:
        k: How many guesses a sample has.
    """

    name: str = "top_k"
    k: PositiveInt = 5

    @cached_property
    def title(self) -> str:
        """``top_5``."""
        return f"top_{self.k}"

    def check(self, classes: int) -> None:
        """Refuses a k of at least the number of classes, which is always right."""
        if self.k >= classes:
            raise InputError(
                f"evaluation.metrics: top_k with k={self.k} is 1 for any model, since there "
                f"are {classes} classes; use a smaller k, or accuracy"
            )

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Whether fewer than k other classes have an output at least as high, bool."""
        own = outputs.gather(1, labels[:, None])
        return (outputs >= own).sum(dim=1) <= self.k
