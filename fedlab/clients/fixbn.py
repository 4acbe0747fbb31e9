"""FixBN, client trainer: batch statistics in the first rounds, fixed averaged ones afterwards.

See `fedlab.strategies.fixbn` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer, Received
from fedlab.models.normalisation import normalises_batch
from fedlab.strategies.fixbn import FixBNParameters


class FixBN(ClientTrainer[FixBNParameters]):
    """Local SGD; later rounds normalise by running statistics and do not update them."""

    def set_train_mode(self, received: Received) -> None:
        """Puts batch normalisation into evaluation mode where statistics are fixed.

        Scales and shifts go on learning.
        """
        super().set_train_mode(received)
        if self.parameters.fixed(received.server_round, received.rounds):
            for module in self.task.model.modules():
                if normalises_batch(module):
                    module.eval()
