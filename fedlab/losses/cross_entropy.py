"""Cross-entropy, the usual loss."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, log_softmax

from fedlab.losses.base import Loss
from fedlab.records import Tensors


class CrossEntropy(Loss):
    """The mean of -log softmax(outputs)[label]."""

    name: str = "cross_entropy"

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """PyTorch's cross-entropy."""
        return cross_entropy(outputs, labels)

    def for_vmap(self) -> Loss:
        """In few operations: `torch.func.vmap` decomposes PyTorch's function into dozens."""
        return _Gathered()


class _Gathered(CrossEntropy):
    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        chances = log_softmax(outputs, dim=-1)
        return -chances.gather(-1, labels.unsqueeze(-1)).mean()
