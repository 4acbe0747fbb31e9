"""FixMatch, client trainer: cross-entropy of strong views with confident pseudo-labels.

See `fedlab.strategies.fixmatch` for the paper and what travels.
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
