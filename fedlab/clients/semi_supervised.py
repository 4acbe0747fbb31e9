"""What FixMatch and UDA share: a loss on labelled samples and one on strong views of the others.

Batches are drawn from all of a client's samples, so that labelled and unlabelled ones meet in the
proportion in which the client has them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Carry, LocalHalf, Phase
from fedlab.clients.task import Batch, Task
from fedlab.records import Tensors
from fedlab.strategies.parameters import StrategyParameters
from fedlab.strategies.semi_supervised import SemiSupervisedParameters


class SemiSupervised(LocalHalf):
    """Minimises ℓ_labelled + λ ℓ_unlabelled, both views in one forward pass."""

    def __init__(self, parameters: StrategyParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.weight = cast(SemiSupervisedParameters, parameters).weight

    @abstractmethod
    def consistency(self, weak: Tensor, strong: Tensor) -> Tensor:
        """The loss of each unlabelled sample, 0 where it is not sure enough.

        Args:
            weak: Logits of the usual views, shape (batch, classes), to be taken as given.
            strong: Logits of the strong views.

        Returns:
            Shape (batch,).
        """

    def phases(self) -> Sequence[Phase]:
        """One, over all samples."""
        return [replace(phase, split="all", strong_views=True) for phase in super().phases()]

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the labelled samples, consistency over the others."""
        assert batch.strong is not None
        assert batch.labelled is not None
        views = torch.cat([batch.inputs, batch.strong])
        weak, strong = self.task.outputs(parameters, carry.buffers, views).chunk(2)
        labelled, unlabelled = batch.labelled, ~batch.labelled
        supervised = cross_entropy(weak, batch.labels, reduction="none") * labelled
        consistent = self.consistency(weak.detach(), strong) * unlabelled
        loss = supervised.sum() / labelled.sum().clamp(min=1)
        return loss + self.weight * consistent.sum() / unlabelled.sum().clamp(min=1), weak
