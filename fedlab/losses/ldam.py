"""A margin loss with larger margins for rarer classes.

Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, Cao, Wei, Gaidon, Arechiga,
Ma, NeurIPS 2019, arXiv 1906.07413; authors' code in kaidic/LDAM-DRW. The paper counts the classes
of one training set; here every client counts its own.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat

from fedlab.accelerator import exact
from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors


class LDAM(Loss):
    """Cross-entropy with a margin for the label, larger the rarer it is, and deferred re-weighting.

    Outputs become s·(outputs - Δ), Δ for the label alone and proportional to n^(-1/4), n the
    client's samples of that class. From the `reweight_from` share of the rounds on, samples are
    weighted by (1-β)/(1-β^n) of their class (deferred re-weighting). A class that the client does
    not have is treated like the rarest that it has.

    Attributes:
        margin: Δ of the client's rarest class.
        scale: s. The authors' code has 30, for outputs that are cosines of features and weights;
            outputs of ordinary dense layers are unbounded and need no scale.
        reweight_from: Share of the rounds after which classes are weighted; 1 for never.
        beta: β of these weights; 0 weighs all classes equally, values close to 1 approach 1/n.
    """

    name: str = "ldam"
    personal: ClassVar[bool] = True
    margin: PositiveFloat = 0.5
    scale: PositiveFloat = 1.0
    reweight_from: float = Field(default=0.8, ge=0, le=1)
    beta: float = Field(default=0.9999, ge=0, lt=1)

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """The margins and the weights of the classes, each of shape (classes,)."""
        counts = exact(stats.class_counts).double()
        rarest = counts.where(counts > 0, torch.inf).amin().nan_to_num(posinf=1.0)
        counts = counts.clamp(min=rarest)
        margins = self.margin * (rarest / counts) ** 0.25
        weights = torch.ones_like(counts)
        if server_round > self.reweight_from * rounds:
            weights = (1 - self.beta) / (1 - self.beta**counts)
        device = stats.class_counts.device
        return {"margins": margins.float().to(device), "weights": weights.float().to(device)}

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The mean over the batch, weighted by class as PyTorch's cross-entropy weighs."""
        is_label = labels.unsqueeze(-1) == torch.arange(outputs.shape[-1], device=labels.device)
        losses = log_loss(self.scale * (outputs - kept["margins"] * is_label), labels)
        weights = kept["weights"][labels]
        return (losses * weights).sum() / weights.sum()
