"""UDA, client trainer: strong views get the sharpened prediction of the usual view.

Unsupervised Data Augmentation for Consistency Training, Xie, Dai, Hovy, Luong, Le, NeurIPS 2020,
arXiv 1904.12848.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from fedlab.clients.families.semi_supervised import SemiSupervised
from fedlab.strategies.uda import UDAParameters


class UDA(SemiSupervised[UDAParameters]):
    """ℓ_u = 1[max p(weak) > β] · KL(p(weak; temperature) ‖ p(strong))."""

    def consistency(self, weak: Tensor, strong: Tensor) -> Tensor:
        """The masked divergence of strong views from sharpened predictions."""
        own = self.parameters
        target = log_softmax(weak / own.temperature, dim=-1)
        apart = kl_div(log_softmax(strong, dim=-1), target, reduction="none", log_target=True)
        return apart.sum(dim=-1) * (weak.softmax(dim=-1).amax(dim=-1) > own.threshold)
