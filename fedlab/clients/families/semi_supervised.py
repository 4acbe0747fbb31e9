"""The client trainer of FixMatch and UDA: a supervised and a consistency loss.

A step reads a batch of labelled samples, as in FedAvg, and μ times as many unlabelled ones, drawn
in separate passes (Sohn et al., NeurIPS 2020, arXiv 2001.07685, equations 2 to 4). A pass of a
round is one over the labelled samples; a client without any learns from unlabelled ones alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import TypeVar

from fedlab.clients.base import Carry, ClientTrainer, Phase
from fedlab.records import Tensors
from fedlab.strategies.families.semi_supervised import SemiSupervisedParameters
from fedlab.training.task import Batch, Task

S = TypeVar("S", bound=SemiSupervisedParameters, default=SemiSupervisedParameters)


class SemiSupervised(ClientTrainer[S]):
    """Minimises ℓ_labelled + λ ℓ_unlabelled, both views in one forward pass."""

    def __init__(self, parameters: S, task: Task) -> None:
        super().__init__(parameters, task)
        self.own = parameters

    @abstractmethod
    def consistency(self, weak: Tensor, strong: Tensor) -> Tensor:
        """The loss of each unlabelled sample, 0 below the confidence threshold.

        Args:
            weak: Detached logits of the usual views, shape (batch, classes).
            strong: Logits of the strong views.

        Returns:
            Shape (batch,).
        """

    def phases(self) -> Sequence[Phase]:
        """One, over the labelled samples, with unlabelled ones beside them."""
        return [
            replace(phase, unlabelled=self.own.ratio, strong_views=True)
            for phase in super().phases()
        ]

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss of the labelled samples and λ times that of the others."""
        assert batch.strong is not None
        others = len(batch.strong)
        known = len(batch.inputs) - others
        views = torch.cat([batch.inputs, batch.strong])
        labelled, weak, strong = self.task.outputs(parameters, carry.buffers, views).split(
            [known, others, others]
        )
        loss = self.weight * self.consistency(weak.detach(), strong).sum() / max(others, 1)
        if known:
            own = Batch(batch.inputs[:known], batch.labels[:known], batch.indices[:known])
            loss = loss + self.loss(labelled, own, carry)
        return loss, torch.cat([labelled, weak])

    @property
    def weight(self) -> float:
        """λ, the weight of the loss on unlabelled samples."""
        return self.own.weight
