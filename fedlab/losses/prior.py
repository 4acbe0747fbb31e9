"""Losses that know how often a client has each class, and take that out of what it learns.

Balanced softmax: Balanced Meta-Softmax for Long-Tailed Visual Recognition, Ren, Yu, Sheng, Ma,
Zhao, Yi, Li, NeurIPS 2020, arXiv 2007.10740. Logit adjustment: Long-tail Learning via Logit
Adjustment, Menon, Jayasumana, Rawat, Jain, Veit, Kumar, ICLR 2021, arXiv 2007.07314.

The papers count the classes of one training set. Here a client counts its own: outputs plus the
logarithm of the client's class shares are to predict its labels, so that outputs by themselves are
free of its shares, and those of all clients can be averaged. Classes a client does not have are
left as they are, not unlearnt. Tests use the outputs as they are.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveFloat

from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors

ABSENT = 1e-9
"""Samples that a client is taken to have of a class it has none of: its chance is as good as zero,
and the loss stays finite where such a class is somebody's label after all (pseudo-labels)."""


class BalancedSoftmax(Loss):
    """Cross-entropy in which classes count as if the client had all of them equally often."""

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
    """Balanced softmax with a dial: the logarithm of the client's class shares, times τ.

    Attributes:
        tau: τ; 1 is balanced softmax, and the smaller, the closer to cross-entropy.
    """

    name: str = "logit_adjustment"
    tau: PositiveFloat = 1.0

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The logarithms of the client's class counts times τ, shape (classes,)."""
        counts = super().start(stats, server_round, rounds)["prior"]
        return {"prior": self.tau * counts}
