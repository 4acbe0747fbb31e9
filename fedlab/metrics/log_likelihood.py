"""Negative log-likelihood of the labels under the predicted probabilities."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy

from fedlab.metrics.base import SampleMean
from fedlab.targets.base import EVERY


class NLL(SampleMean):
    """Negative log-likelihood: the mean of -log softmax(outputs)[label]; lower is better."""

    name: str = "nll"
    called: ClassVar[str] = "NLL"
    higher_is_better: ClassVar[bool] = False
    share: ClassVar[bool] = False

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of each sample, float32 of shape (n,)."""
        return cross_entropy(outputs.float(), labels, reduction="none")


class MeanLoss(NLL):
    """Mean of the target's default loss, also where training has another; lower is better.

    Cross-entropy of classes, binary cross-entropy of labels, and the squared error of what a
    regression learns: of standardised numbers, unless ``data.target.standardise`` is false.
    """

    name: str = "loss"
    targets: ClassVar[frozenset[str]] = EVERY
    called: ClassVar[str] = ""
