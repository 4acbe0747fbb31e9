"""AFL, client trainer: local SGD that also sends up the loss of the received model.

See `fedlab.strategies.afl` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import Carry, Received, Update
from fedlab.clients.families.received_loss import ReceivedLoss


class AFL(ReceivedLoss):
    """Sends the model and F, the loss of the received one on the client's training samples."""

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Adds the loss to what goes up."""
        update = super().finish(carry, received, steps)
        record = {"loss": self.received_loss(carry)}
        return update._replace(arrays={**update.arrays, "received": record})
