"""Cross-entropy with smoothed labels.

Rethinking the Inception Architecture for Computer Vision, Szegedy, Vanhoucke, Ioffe, Shlens, Wojna,
CVPR 2016, arXiv 1512.00567.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn.functional import log_softmax

from fedlab.losses.base import Loss
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors


class LabelSmoothing(Loss):
    """Cross-entropy in which a part of the label's weight is spread over all classes.

    Attributes:
        smoothing: ε, that part; 0 is cross-entropy.
    """

    name: str = "label_smoothing"
    smoothing: float = Field(default=0.1, ge=0, lt=1)

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """(1 - ε) times the log loss of the label, and ε times its mean over all classes."""
        all_classes = -log_softmax(outputs, dim=-1).mean(dim=-1)
        return torch.lerp(log_loss(outputs, labels), all_classes, self.smoothing).mean()
