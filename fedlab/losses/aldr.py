"""LDR-KL with an adaptive temperature for every sample.

Label Distributionally Robust Losses for Multi-class Classification: Consistency, Robustness and
Adaptivity, Zhu, Ying, Yang, ICML 2023, arXiv 2112.14869; authors' code in
Optimization-AI/ICML2023_LDR.
"""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch.nn.functional import log_softmax

from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.ldr import Scores, leads_over_label, scored, soft_maximum
from fedlab.records import Tensors


class ALDRKL(Loss):
    """ALDR-KL: LDR-KL whose λ adapts to each sample, which reduces the effect of wrong labels.

    Whenever a sample is read, its λ becomes λ₀ (1 - KL(softmax(f/λ) ‖ uniform) / (α log K)):
    smaller for confident predictions. Every round starts again from λ₀, as λ depends on the network
    and a client receives another one in every round. With one local epoch each sample is therefore
    adapted once, from λ₀.

    Attributes:
        temperature: λ₀; 1 here, 10 in the authors' code.
        alpha: α; λ stays above λ₀ (1 - 1/α).
        margin: Margin between the label's score and every other.
        scores: Definition of f (see ``ldr_kl``); the authors' code divides by the mean of absolute
            values.
    """

    name: str = "aldr_kl"
    personal: ClassVar[bool] = True
    supports_vmap: ClassVar[bool] = False
    temperature: PositiveFloat = 1.0
    alpha: float = Field(default=2.0, gt=1)
    margin: float = Field(default=0.1, ge=0)
    scores: Scores = "l1"

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """λ₀ for every sample."""
        device = stats.class_counts.device
        return {"temperatures": torch.full((stats.samples,), self.temperature, device=device)}

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """Adapts the samples' λ, then computes the loss with them."""
        scores = scored(outputs, self.scores)
        most = self.alpha * log(outputs.shape[-1])
        with torch.no_grad():
            chances = log_softmax(scores / kept["temperatures"][indices].unsqueeze(-1), dim=-1)
            from_uniform = (chances.exp() * chances).sum(dim=-1) + log(outputs.shape[-1])
            adapted = self.temperature * (1 - from_uniform / most)
            kept["temperatures"][indices] = adapted.to(kept["temperatures"].dtype)
        leads = leads_over_label(scores, labels, self.margin)
        losses = soft_maximum(leads, adapted.unsqueeze(-1))
        spread = (adapted - self.temperature).square() * most / (2 * self.temperature)
        return (losses - spread).mean()
