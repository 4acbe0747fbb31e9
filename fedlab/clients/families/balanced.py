"""Clients that minimise balanced softmax instead of the scenario's loss."""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received
from fedlab.losses.base import ClientStats
from fedlab.losses.prior import BalancedSoftmax
from fedlab.strategies.parameters import P
from fedlab.training.task import Batch

BALANCED = BalancedSoftmax()


class BalancedClient(ClientTrainer[P]):
    """A client trainer that adds the logarithms of its class counts to outputs."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Counts the client's samples by class."""
        carry = super().begin(received, client_state, stats)
        counts = BALANCED.start(stats, received.server_round, received.rounds)
        return carry._replace(extra={**carry.extra, "balanced": counts})

    def balanced(self, outputs: torch.Tensor, batch: Batch, carry: Carry) -> torch.Tensor:
        """The cross-entropy of outputs plus the logarithms of the client's class counts."""
        return BALANCED.value(outputs, batch.labels, batch.indices, carry.extra["balanced"])
