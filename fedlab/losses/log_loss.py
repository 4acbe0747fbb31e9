"""The logarithmic loss of each sample, used by the losses of this folder."""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax


def log_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log softmax(outputs)[label], shape (batch,).

    In few operations: `torch.func.vmap` decomposes PyTorch's cross-entropy into dozens.
    """
    return -log_softmax(outputs, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
