"""SCAFFOLD, client trainer: local SGD with gradients corrected by control variates.

See `fedlab.strategies.scaffold` for the paper and what travels.
"""

from __future__ import annotations

from typing import Any

import torch

from fedlab.clients.base import (
    Carry,
    ClientState,
    ClientTrainer,
    Phase,
    Received,
    Update,
    trained_part,
)
from fedlab.losses.base import ClientStats
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.training.gradients import with_zeros
from fedlab.training.lists import added, divided, less
from fedlab.training.task import Batch


class Scaffold(ClientTrainer):
    """θ ← θ - η (∇F_i(θ) - c_i + c), with option II for the control variate (Algorithm 1)."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Loads c_i, zeros for a client that has not taken part before, and c - c_i."""
        carry = super().begin(received, client_state, stats)
        server = received.arrays["control"]
        own = client_state.get("control") or {n: torch.zeros_like(c) for n, c in server.items()}
        both = ({n: channels_last(record[n]) for n in carry.parameters} for record in (server, own))
        correction = less(*both)
        extra = {**carry.extra, "control": own, "correction": correction}
        return carry._replace(extra=extra)

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """The clipped gradients with c - c_i added."""
        grads, metrics = super().gradients(carry, batch, phase)
        grads = with_zeros(grads, trained_part(carry.parameters, phase))
        return added(grads, carry.extra["correction"]), metrics

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends Δc_i = (w - θ) / (K η) - c; zeros for a client that took no step."""
        update = super().finish(carry, received, steps)
        server = received.arrays["control"]
        change = mean_gradient_change(self, carry.parameters, received, steps, server)
        own = added(carry.extra["control"], change)
        return update._replace(
            arrays={**update.arrays, "control": change},
            client_state={**update.client_state, "control": own},
        )


def mean_gradient_change(
    trainer: ClientTrainer[Any], trained: Tensors, received: Received, steps: int, server: Tensors
) -> Tensors:
    """The change of a control variate, (w - θ) / (K η) - c, c being the server's.

    Steps of plain SGD are along g + c - c_i. Their mean is (w - θ) / (K η), so that c_i becomes the
    mean of the gradients g.

    Args:
        trainer: Knows the learning rate η.
        trained: θ, where the client's steps ended.
        received: What came down: w.
        steps: K, the number of steps.
        server: c, as it entered the steps.
    """
    if steps == 0:
        return {name: torch.zeros_like(control) for name, control in server.items()}
    length = steps * trainer.task.optimizer.learning_rate(received.server_round)
    start = {name: received.model[name] for name in trained}
    return less(divided(less(start, trained), length), server)
