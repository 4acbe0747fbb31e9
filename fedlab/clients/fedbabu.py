"""FedBABU, client trainer: local SGD on the body, with the head as it was initialised.

See `fedlab.strategies.fedbabu` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received, Update
from fedlab.strategies.fedbabu import FedBABUParameters


class FedBABU(ClientTrainer[FedBABUParameters]):
    """Local SGD on all but the head, which neither gradients nor weight decay move."""

    def phases(self) -> Sequence[Phase]:
        """One phase, which trains the body."""
        (usual,) = super().phases()
        return [replace(usual, trained=self.shared)]

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the body; the client keeps no state, as the head is the network's initial one."""
        return super().finish(carry, received, steps)._replace(client_state={})
