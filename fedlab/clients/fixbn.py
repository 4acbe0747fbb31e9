"""FixBN, client trainer: normalises by the batch at first, by averaged statistics later.

Making Batch Normalization Great in Federated Deep Learning, Zhong, Chen, Chao, 2023,
arXiv 2303.06530.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from fedlab.clients.base import ClientTrainer, Received
from fedlab.models.normalisation import normalises_batch
from fedlab.strategies.fixbn import FixBNParameters


class FixBN(ClientTrainer[FixBNParameters]):
    """Local SGD; in later rounds running statistics are read, and not written."""

    def set_train_mode(self, received: Received) -> None:
        """Puts batch normalisation into evaluation mode where statistics are fixed.

        Scales and shifts go on learning.
        """
        super().set_train_mode(received)
        if self.parameters.fixed(received.server_round, received.rounds):
            for module in self.task.model.modules():
                if normalises_batch(module):
                    module.eval()
