"""Errors of regression, in the units of the data."""

from __future__ import annotations

from typing import ClassVar

import torch

from fedlab.metrics.base import Counts, Metric, SampleMean
from fedlab.targets.base import REGRESSION


class OfNumbers(Metric):
    """A metric in the units of the data, 0 at best."""

    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})
    higher_is_better: ClassVar[bool] = False
    share: ClassVar[bool] = False


class MAE(OfNumbers, SampleMean):
    """Mean absolute error, over samples and targets; lower is better."""

    name: str = "mae"
    called: ClassVar[str] = "MAE"

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of each sample, shape (n,)."""
        return (outputs - labels).abs().mean(dim=-1)


class MSE(OfNumbers, SampleMean):
    """Mean squared error, over samples and targets; lower is better."""

    name: str = "mse"
    called: ClassVar[str] = "MSE"

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of each sample, shape (n,)."""
        return (outputs - labels).square().mean(dim=-1)


class RMSE(OfNumbers):
    """Root of the mean squared error of each target, averaged over targets; lower is better."""

    name: str = "rmse"
    called: ClassVar[str] = "RMSE"

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """The sums of squared errors, float64 of shape (targets,), and the number of samples."""
        squares = (outputs.double() - labels).square().sum(dim=0)
        return {"squares": squares, "samples": torch.tensor(len(labels))}

    def compute(self, counts: Counts) -> dict[str, float]:
        """The mean of the roots."""
        return {self.title: float((counts["squares"] / counts["samples"]).sqrt().mean())}


class EachMAE(OfNumbers):
    """Mean absolute error of each target: ``each_mae[0]``, ``each_mae[1]``, ..."""

    name: str = "each_mae"
    scalar: ClassVar[bool] = False
    of_clients: ClassVar[bool] = False

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """The sums of absolute errors, float64 of shape (targets,), and the number of samples."""
        total = (outputs.double() - labels).abs().sum(dim=0)
        return {"total": total, "samples": torch.tensor(len(labels))}

    def compute(self, counts: Counts) -> dict[str, float]:
        """A figure for each target, by its index."""
        values = (counts["total"] / counts["samples"]).tolist()
        return {f"{self.title}[{index}]": value for index, value in enumerate(values)}
