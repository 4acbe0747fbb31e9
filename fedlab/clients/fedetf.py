"""FedETF, client trainer: local SGD with balanced softmax towards the fixed classifier.

See `fedlab.strategies.fedetf` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry
from fedlab.clients.families.balanced import BalancedClient
from fedlab.training.task import Batch


class FedETF(BalancedClient):
    """Minimises CE(z + log n, y), n the client's class counts; tests use z as it is."""

    def loss(self, outputs: torch.Tensor, batch: Batch, carry: Carry) -> torch.Tensor:
        """Balanced softmax."""
        return self.balanced(outputs, batch, carry)
