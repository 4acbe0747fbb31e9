"""The loss of bags of which the shares of the classes are known (`fedlab.targets.proportions`)."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PrivateAttr

from fedlab.losses.base import Loss
from fedlab.records import Tensors
from fedlab.targets.base import PROPORTIONS
from fedlab.targets.proportions import bag_losses


class ProportionLoss(Loss):
    """The mean over bags of -Σ_c s_c log p̄_c, with the shares s and the mean softmax p̄ of a bag.

    It is least where p̄ = s, whichever sample of the bag is of which class.
    """

    name: str = "proportions"
    targets: ClassVar[frozenset[str]] = frozenset({PROPORTIONS})
    _bag_size: int | None = PrivateAttr(default=None)

    def of_bags(self, size: int | None) -> ProportionLoss:
        """See `Loss.of_bags`."""
        loss = self.model_copy()
        loss._bag_size = size
        return loss

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The mean over the bags of a batch."""
        return bag_losses(outputs, labels, self._bag_size or len(outputs)).mean()
