"""Clips clients' updates to a largest norm.

Can You Really Backdoor Federated Learning?, Sun, Kairouz, Suresh, McMahan, 2019, arXiv 1911.07963
(section 4: norm thresholding).
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat

from fedlab.accelerator import exact
from fedlab.updates.base import Changes, UpdateTransform


class Clip(UpdateTransform):
    """Δ · min(1, M / ‖Δ‖), the norm over all tensors of all records together.

    Clients apply it themselves: it limits honest updates, but does not protect against malicious
    clients (`participation.update_norm` does) and gives no privacy guarantee (`privacy` does).

    Attributes:
        norm: M, the largest Euclidean norm.
    """

    name: str = "clip"
    norm: PositiveFloat

    def transform(self, changes: Changes, generator: torch.Generator) -> Changes:
        """The changes, all scaled by one factor."""
        squares = [
            exact(t).double().square().sum()
            for tensors in changes.values()
            for t in tensors.values()
        ]
        length = float(torch.stack(squares).sum().sqrt()) if squares else 0.0
        if length <= self.norm:
            return changes
        factor = self.norm / length
        return {
            record: {name: tensor * factor for name, tensor in tensors.items()}
            for record, tensors in changes.items()
        }
