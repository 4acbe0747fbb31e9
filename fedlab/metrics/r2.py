"""The share of the variance that predictions explain."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import PrivateAttr

from fedlab.metrics.base import Counts, Metric
from fedlab.targets.base import REGRESSION, Target

ROUNDING = 1e-13
"""A sum of squares around the mean that is this small beside that around zero is rounding."""


class Explained(Metric):
    """A metric that follows from squared errors and the variance of the labels.

    Sums are of labels less a number close to their mean, that of the training samples: the sum of
    squares around the mean of any set of samples is then not lost in rounding the square of the
    mean. Results do not depend on that number.
    """

    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})
    share: ClassVar[bool] = False
    _centre: tuple[float, ...] | None = PrivateAttr(default=None)

    def on(self, target: Target) -> Self:
        """The same metric with sums around the mean of the target's training samples."""
        own = self.model_copy()
        own._centre = getattr(target, "mean", None)
        return own

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """Sums of centred labels, of their squares and of squared errors, and the samples."""
        centred = labels.double()
        if self._centre is not None:
            centred = centred - torch.tensor(self._centre, dtype=torch.float64)
        return {
            "sum": centred.sum(dim=0),
            "squares": centred.square().sum(dim=0),
            "errors": (outputs.double() - labels).square().sum(dim=0),
            "samples": torch.tensor(len(labels)),
        }

    def explained(self, counts: Counts) -> torch.Tensor:
        """R² of every target, float64; NaN where its labels are all alike, or there is one."""
        around_mean = counts["squares"] - counts["sum"].square() / counts["samples"]
        defined = around_mean > ROUNDING * counts["squares"]
        values = 1 - counts["errors"] / around_mean
        return torch.where(defined, values, torch.nan)


class R2(Explained):
    """R²: 1 less the ratio of squared errors to squared deviations, averaged over targets.

    Targets whose labels are all alike are left out; 0 is what the mean of the tested labels gives,
    and worse predictions are below.
    """

    name: str = "r2"
    called: ClassVar[str] = "R2"

    def compute(self, counts: Counts) -> dict[str, float]:
        """The average."""
        return {self.title: float(self.explained(counts).nanmean())}


class EachR2(Explained):
    """R² of each target: ``each_r2[0]``, ``each_r2[1]``, ..."""

    name: str = "each_r2"
    scalar: ClassVar[bool] = False
    of_clients: ClassVar[bool] = False

    def compute(self, counts: Counts) -> dict[str, float]:
        """A figure for each target, by its index."""
        values = self.explained(counts).tolist()
        return {f"{self.title}[{index}]": value for index, value in enumerate(values)}
