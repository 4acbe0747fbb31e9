"""FixMatch, client trainer: strong views get the class that the usual view is sure of.

FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, Sohn, Berthelot, Li,
Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel, NeurIPS 2020, arXiv 2001.07685.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.clients.families.semi_supervised import SemiSupervised
from fedlab.strategies.fixmatch import FixMatchParameters


class FixMatch(SemiSupervised[FixMatchParameters]):
    """ℓ_u = 1[max p(weak) ≥ τ] · CE(strong, argmax p(weak)) (equation 4 of the paper)."""

    def consistency(self, weak: Tensor, strong: Tensor) -> Tensor:
        """The masked cross-entropy of strong views."""
        threshold = self.parameters.threshold
        chances, labels = weak.softmax(dim=-1).max(dim=-1)
        return cross_entropy(strong, labels, reduction="none") * (chances >= threshold)
