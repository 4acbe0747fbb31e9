"""Positive-unlabelled loss over labels of which only some positives are known.

Positive Label Is All You Need for Multi-Label Classification, Yuan, Zhang, Huang, ICME 2024, arXiv
2306.16016 (PU-MLC); authors' code in TAKELAMAG/PU-MLC. Their consistency of mixed images is not
here: it needs the network, and a loss sees outputs. Neither is their convolution module.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch.nn.functional import logsigmoid

from fedlab.losses.base import Loss
from fedlab.records import Tensors
from fedlab.targets.base import MULTI_LABEL


class PU(Loss):
    """The sum over labels of u^γ log(mean s) - (mean over known positives of log s).

    Here s = σ(z / τ), the first mean is over the whole batch, and u is that mean without a
    gradient: the more probable a label is, the more its unlabelled samples weigh. τ is the smaller
    of 1 and `temperature` times the deviation of the label's outputs in the batch, without a
    gradient. A 0 says that it is not known whether the label holds: given negatives are not used.
    A label without a known positive in the batch has the first term alone.

    A batch stands for the unlabelled samples: it should have 32 or more. The value may be negative.

    Attributes:
        gamma: γ; 0.55 for COCO and 0.85 for VOC in the authors' code. 0 weighs all labels the same.
        temperature: a of τ = min(1, a · deviation); 1 for COCO, 2 for VOC.
        floor: The least τ, of which the authors' code has none: outputs that are all alike would
            make gradients as large as 1 / τ.
    """

    name: str = "pu"
    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})
    gamma: NonNegativeFloat = 0.55
    temperature: PositiveFloat = 1.0
    floor: float = Field(default=0.1, gt=0, le=1)

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The sum over labels; labels are 1 for known positives."""
        log_scores = logsigmoid(outputs / self._tau(outputs.detach()))
        log_mean = log_scores.logsumexp(dim=0) - math.log(outputs.shape[0])
        weight = log_mean.detach().exp() ** self.gamma
        positives = labels.sum(dim=0).clamp(min=1)
        known = (labels * log_scores).sum(dim=0) / positives
        return (weight * log_mean - known).sum()

    def _tau(self, outputs: torch.Tensor) -> torch.Tensor:
        """τ of each label, shape (labels,)."""
        deviation = (outputs - outputs.mean(dim=0)).square().mean(dim=0).sqrt()
        return (self.temperature * deviation).clamp(min=self.floor, max=1.0)
