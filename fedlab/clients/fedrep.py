"""FedRep, client trainer: trains the client's own head first, then the shared body.

See `fedlab.strategies.fedrep` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedlab.clients.base import Carry, ClientTrainer, Phase
from fedlab.strategies.fedrep import FedRepParameters


class FedRep(ClientTrainer[FedRepParameters]):
    """Epochs of the head with the body frozen, then of the body with the head frozen.

    Running statistics belong to the layers, not to the optimiser: they follow the data in both.
    """

    def phases(self) -> Sequence[Phase]:
        """Head, then body (Algorithm 1)."""
        epochs = self.parameters.head_epochs
        (usual,) = super().phases()
        head = replace(usual, epochs=epochs, steps=None, trained=self.local)
        return [head, replace(usual, trained=self.shared, enter=self.turn_to_body)]

    def turn_to_body(self, carry: Carry) -> Carry:
        """Resets the optimiser for the body."""
        return carry._replace(optimizer=self.task.optimizer.start(carry.parameters))
