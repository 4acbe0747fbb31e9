"""Ditto, client trainer: trains the global model, then a personal one with an L2 pull towards it.

See `fedlab.strategies.ditto` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedlab.clients.base import (
    Carry,
    ClientState,
    ClientTrainer,
    Phase,
    Pull,
    Received,
    Update,
)
from fedlab.losses.base import ClientStats
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.strategies.ditto import DittoParameters
from fedlab.training.lists import copied


class Ditto(ClientTrainer[DittoParameters]):
    """Two models, one after the other (Algorithm 1), with the same optimiser.

    A personal model v starts from the network's initial values and minimises F(v) + λ/2 ‖v - w‖²,
    w the global model as it came down. Its running statistics are separate from w's.
    """

    def phases(self) -> Sequence[Phase]:
        """The global model, then the personal one."""
        (usual,) = super().phases()
        epochs, steps = self.parameters.personal_epochs, self.parameters.personal_steps
        own = replace(usual, epochs=epochs or 1, steps=steps) if epochs or steps else usual
        personal = replace(own, enter=self.turn_to_personal)
        return [usual, personal]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts with the global model; the carry's extra holds the personal one meanwhile."""
        carry = super().begin(received, client_state, stats)
        waiting = self.evaluated_model(received, client_state)
        waiting = copied({name: channels_last(tensor) for name, tensor in waiting.items()})
        parameters, buffers = self.task.split(waiting)
        aside = {
            "anchor": copied(carry.parameters),
            "waiting": parameters,
            "waiting_buffers": buffers,
            "waiting_loss": copied(carry.extra.get("loss", {})),
        }
        return carry._replace(extra={**carry.extra, **aside})

    def turn_to_personal(self, carry: Carry) -> Carry:
        """Stores the trained global model in the carry's extra and switches to the personal one."""
        extra = dict(carry.extra)
        own, buffers = extra.pop("waiting"), extra.pop("waiting_buffers")
        extra["loss"] = extra.pop("waiting_loss")
        extra |= {"trained": carry.parameters, "trained_buffers": carry.buffers}
        return Carry(own, buffers, self.task.optimizer.start(own), extra)

    def pull(self, carry: Carry, phase: Phase) -> Pull | None:
        """The personal model's distance to the global one (equation 1)."""
        personal = "trained" in carry.extra
        return Pull(self.parameters.lam, carry.extra["anchor"]) if personal else None

    def evaluated_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The personal model."""
        return {**self.task.initial, **client_state.get("model", {})}

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the global model and keeps the personal one."""
        sent = {**carry.extra["trained"], **carry.extra["trained_buffers"]}
        own = {**carry.parameters, **carry.buffers}
        return Update({"arrays": {name: sent[name] for name in self.shared}}, {"model": own})
