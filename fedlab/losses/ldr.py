"""Label-distributionally robust losses: the worst case over a set of label distributions.

Label Distributionally Robust Losses for Multi-class Classification: Consistency, Robustness and
Adaptivity, Zhu, Ying, Yang, ICML 2023, arXiv 2112.14869; authors' code in
Optimization-AI/ICML2023_LDR.
"""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from pydantic import Field, PositiveFloat
from torch.nn.functional import softplus

from fedlab.losses.base import Loss
from fedlab.records import Tensors

Scores = Literal["raw", "l1", "softplus"]


class LDRKL(Loss):
    """LDR-KL: one temperature between the worst wrong class and the mean over all classes.

    λ log((1/K) Σ_k exp(δ_k/λ)) with δ_k = f_k - f_label + margin, and 0 for the label. Small λ
    gives the hinge loss of Crammer and Singer (only the worst class), λ = 1 without a margin
    cross-entropy less log K, large λ the mean over classes, which is robust to wrong labels.

    Attributes:
        temperature: λ; 1 here, 10 in the authors' code, which also mentions 0.1 and 1.
        margin: Margin between the label's score and every other.
        scores: Definition of f: ``softplus`` of the outputs divided by their mean over classes, as
            in the authors' code; ``l1``, the outputs divided by the mean of their absolute values;
            or the outputs themselves, ``raw``, with which large λ has no lower bound.
    """

    name: str = "ldr_kl"
    temperature: PositiveFloat = 1.0
    margin: float = Field(default=0.1, ge=0)
    scores: Scores = "softplus"

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The mean over the batch."""
        leads = leads_over_label(scored(outputs, self.scores), labels, self.margin)
        return soft_maximum(leads, self.temperature).mean()


def scored(outputs: torch.Tensor, scores: Scores) -> torch.Tensor:
    """The scores f of outputs (see `LDRKL.scores`)."""
    if scores == "raw":
        return outputs
    values = softplus(outputs) if scores == "softplus" else outputs
    return values / values.abs().mean(dim=-1, keepdim=True).clamp(min=1e-8)


def leads_over_label(scores: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """δ of shape (batch, classes): scores less the label's, plus margin; 0 for the label."""
    of_label = scores.gather(-1, labels.unsqueeze(-1))
    is_label = labels.unsqueeze(-1) == torch.arange(scores.shape[-1], device=labels.device)
    return scores - of_label + margin * ~is_label


def soft_maximum(leads: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """λ log((1/K) Σ_k exp(δ_k/λ)), shape (batch,); λ a number or of shape (batch, 1)."""
    value = torch.logsumexp(leads / temperature, dim=-1, keepdim=True) - log(leads.shape[-1])
    return (temperature * value).squeeze(-1)
