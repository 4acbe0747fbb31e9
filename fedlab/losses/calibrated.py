"""Losses that calibrate logits by a client's class counts: FedLC and FedRS.

FedLC: Federated Learning with Label Distribution Skew via Logits Calibration, Zhang, Li, Li, Xu,
Wu, Ding, Wu, ICML 2022, arXiv 2209.00189. FedRS: Federated Learning with Restricted Softmax for
Label Distribution Non-IID Data, Li, Zhan, KDD 2021; authors' code in lxcnju/FedRepo.

Both change the local loss alone; tests use the outputs without calibration.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat

from fedlab.accelerator import exact
from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors

ABSENT = 1e-8
"""Count used for a class without samples: its margin is 100 τ, which masks it, and the loss stays
finite if a sample has that label after all (pseudo-labels)."""


class FedLC(Loss):
    """Cross-entropy of outputs less a margin for every class, larger the rarer the class.

    Outputs become z - τ n^(-1/4), n the client's samples of the class: counts, not shares, so that
    a client with more data has smaller margins. Unlike in LDAM, every class has its margin in every
    sample's softmax, not the label alone. A class that the client does not have is nearly masked.

    Attributes:
        tau: τ. Implementations by others have 0.1 and 0.5.
    """

    name: str = "fedlc"
    personal: ClassVar[bool] = True
    tau: PositiveFloat = 0.5

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The margins of the classes, shape (classes,)."""
        counts = exact(stats.class_counts).double().clamp(min=ABSENT)
        margins = (self.tau * counts**-0.25).float()
        return {"margins": margins.to(stats.class_counts.device)}

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The log loss of outputs less margins."""
        return log_loss(outputs - kept["margins"], labels).mean()


class FedRS(Loss):
    """Cross-entropy of outputs that are scaled down for classes that the client does not have.

    The gradients of the classifier's rows of these classes shrink by the same factor. A negative
    output that is scaled down grows, so that features should not be negative (after a ReLU) and the
    classifier should have no bias; where it has one, it is scaled along.

    Attributes:
        alpha: α, the scale of a class without samples; 1 is cross-entropy. The authors' code tries
            0.9, 0.5 and 0.1.
        soft: Whether a class with samples is scaled, too, as in the authors' code: by
            α + (1 - α) n / max n, n the client's samples of it. By default it is not, as in the
            paper's rule.
    """

    name: str = "fedrs"
    personal: ClassVar[bool] = True
    alpha: float = Field(default=0.5, gt=0, le=1)
    soft: bool = False

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The scales of the classes, shape (classes,)."""
        counts = exact(stats.class_counts).double()
        presence = counts / counts.amax().clamp(min=1) if self.soft else (counts > 0).double()
        scales = (self.alpha + (1 - self.alpha) * presence).float()
        return {"scales": scales.to(stats.class_counts.device)}

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The log loss of scaled outputs."""
        return log_loss(outputs * kept["scales"], labels).mean()
