"""UDA, client trainer: KL divergence of strong views from sharpened predictions.

See `fedlab.strategies.uda` for the paper and what travels.
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
