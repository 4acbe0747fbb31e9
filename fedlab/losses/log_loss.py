"""The logarithmic loss of each sample, from which the losses of this folder are made."""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax


def log_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log softmax(outputs)[label], shape (batch,).

    In few operations: `torch.func.vmap` takes PyTorch's own cross-entropy apart into dozens.
    """
    return -log_softmax(outputs, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
