"""FixBN, client trainer: batch statistics in the first rounds, fixed averaged ones afterwards.

See `fedlab.strategies.fixbn` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.memory_format import channels_last
from fedlab.models.normalisation import normalises_batch
from fedlab.strategies.fixbn import FixBNParameters
from fedlab.training.lists import copied


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

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Restores the momentum of the client's last round, where it was kept."""
        carry = super().begin(received, client_state, stats)
        if "momentum" not in client_state:
            return carry
        kept = client_state["momentum"].items()
        momentum = copied({name: channels_last(tensor) for name, tensor in kept})
        return carry._replace(optimizer={**carry.optimizer, "momentum": momentum})

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Keeps the momentum, where the scenario says so."""
        update = super().finish(carry, received, steps)
        if not self.parameters.keep_momentum:
            return update
        kept = {"momentum": carry.optimizer["momentum"]}
        return update._replace(client_state={**update.client_state, **kept})
