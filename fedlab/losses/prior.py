"""Losses that correct for the client's class distribution.

Balanced softmax: Balanced Meta-Softmax for Long-Tailed Visual Recognition, Ren, Yu, Sheng, Ma,
Zhao, Yi, Li, NeurIPS 2020, arXiv 2007.10740. Logit adjustment: Long-tail Learning via Logit
Adjustment, Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021, arXiv 2007.07314.

The papers use the class counts of one training set. Here each client uses its own: outputs plus the
logarithm of the client's class shares are trained to predict its labels, so that the outputs
themselves do not depend on the shares, and the clients' models can be averaged. Classes that a
client does not have are not unlearnt. Tests use the outputs without correction.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveFloat

from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors

ABSENT = 1e-9
"""Count used for a class without samples: its probability is almost zero, and the loss stays finite
if a sample has that label after all (pseudo-labels)."""


class BalancedSoftmax(Loss):
    """Cross-entropy of outputs plus the logarithms of the client's class counts."""

    name: str = "balanced_softmax"
    personal: ClassVar[bool] = True

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The logarithms of the client's class counts, shape (classes,)."""
        return {"prior": stats.class_counts.float().clamp(min=ABSENT).log()}

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The log loss of adjusted outputs; counts or shares make no difference to a softmax."""
        return log_loss(outputs + kept["prior"], labels).mean()


class LogitAdjustment(BalancedSoftmax):
    """Balanced softmax with the logarithms of the client's class counts multiplied by τ.

    Attributes:
        tau: τ; 1 is balanced softmax, small values approach cross-entropy.
    """

    name: str = "logit_adjustment"
    tau: PositiveFloat = 1.0

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The logarithms of the client's class counts times τ, shape (classes,)."""
        counts = super().start(stats, server_round, rounds)["prior"]
        return {"prior": self.tau * counts}
