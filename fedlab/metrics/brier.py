"""The Brier score of predicted probabilities.

Verification of forecasts expressed in terms of probability, Brier, Monthly Weather Review 78, 1950.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn.functional import one_hot

from fedlab.metrics.base import SampleMean, chances


class Brier(SampleMean):
    """Brier score: the mean of Σ_k (p_k - y_k)², between 0 and 2; lower is better.

    With two classes this is twice the score that is written for the positive class alone.
    """

    name: str = "brier"
    higher_is_better: ClassVar[bool] = False
    share: ClassVar[bool] = False

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of each sample, float32 of shape (n,)."""
        happened = one_hot(labels, outputs.shape[-1])
        return (chances(outputs) - happened).square().sum(dim=-1)
