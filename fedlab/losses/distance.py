"""Losses of regression: squared, absolute and Huber's.

Robust Estimation of a Location Parameter, Huber, Annals of Mathematical Statistics 35, 1964.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from fedlab.losses.base import Loss
from fedlab.records import Tensors
from fedlab.targets.base import REGRESSION


class MSELoss(Loss):
    """The mean over samples and targets of the squared error, in the units that are learnt."""

    name: str = "mse"
    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """PyTorch's."""
        return mse_loss(outputs, labels.to(outputs.dtype))


class MAELoss(Loss):
    """The mean over samples and targets of the absolute error, in the units that are learnt."""

    name: str = "mae"
    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """PyTorch's."""
        return l1_loss(outputs, labels.to(outputs.dtype))


class Huber(Loss):
    """e²/2 of errors up to δ, and δ (|e| - δ/2) of larger ones; the mean over all.

    Attributes:
        delta: δ, in units of what the network learns: of standard deviations, unless
            ``data.target.standardise`` is false.
    """

    name: str = "huber"
    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})
    delta: PositiveFloat = 1.0

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """PyTorch's."""
        return huber_loss(outputs, labels.to(outputs.dtype), delta=self.delta)
