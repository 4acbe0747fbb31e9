"""FedHEAL, client trainer: the base's round, without its inconsistent changes.

See `fedlab.strategies.fedheal` for the paper and what travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, Received, Update
from fedlab.clients.families.in_front import InFrontTrainer
from fedlab.losses.base import ClientStats
from fedlab.models.bits import packed
from fedlab.strategies.fedheal import FedHEALParameters
from fedlab.training.task import Task

if TYPE_CHECKING:
    pass

ROUNDS = "rounds"
"""Name of the number of a client's rounds, beside the names of parameters."""


class FedHEAL(InFrontTrainer):
    """The base's client trainer, with a memory of the direction of changes."""

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: FedHEALParameters, task: Task
    ) -> None:
        super().__init__(parameters, task)
        self.heal = parameters
        learning = set(task.anatomy.learning)
        self.masked = tuple(name for name in self.shared if name in learning)

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Loads how often each parameter has grown, and in how many rounds."""
        carry = super().begin(received, client_state, stats)
        if not self.heal.consistent:
            return carry
        grown = client_state.get("grown")
        if grown is None:
            model = received.model
            grown = {n: torch.zeros_like(model[n], dtype=torch.int16) for n in self.masked}
            device = next(iter(grown.values())).device
            grown[ROUNDS] = torch.zeros((), dtype=torch.int16, device=device)
        return carry._replace(extra={**carry.extra, "grown": grown})

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the base's update with inconsistent changes reset, and stores the counts."""
        update = super().finish(carry, received, steps)
        if not self.heal.consistent:
            return update
        grown, sent = carry.extra["grown"], update.arrays["arrays"]
        rounds = grown[ROUNDS]
        masks: dict[str, Tensor] = {}
        now = {ROUNDS: rounds + 1}
        for name in self.masked:
            up = received.model[name] - sent[name] >= 0
            masks[name] = consistent(up, grown[name], rounds, self.heal.tau)
            now[name] = grown[name] + up.to(torch.int16)
        healed = {n: torch.where(m, sent[n], received.model[n]) for n, m in masks.items()}
        arrays = {
            **update.arrays,
            "arrays": {**sent, **healed},
            "mask": {"bits": packed(masks)},
        }
        state = {**update.client_state, "grown": now}
        return update._replace(arrays=arrays, client_state=state)


def consistent(up: Tensor, grown: Tensor, rounds: Tensor, tau: float) -> Tensor:
    """Whether the share of earlier rounds with this round's direction is above τ, bool.

    Args:
        up: Whether w - θ is at least 0 in this round, bool.
        grown: In how many earlier rounds it was, an integer tensor of the same shape.
        rounds: Number of earlier rounds, a scalar; without any, everything is consistent.
        tau: τ.
    """
    agreed = torch.where(up, grown, rounds - grown)
    share = exact(agreed).double() / exact(rounds).clamp(min=1).double()
    return (share > tau).to(up.device) | (rounds == 0)
