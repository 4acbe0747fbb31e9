"""FedHEAL, client trainer: the base's round, of which inconsistent changes are not sent.

See `fedlab.strategies.fedheal` for the paper and what travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.config import registry
from fedlab.federation.method_wrapper import wrap_class
from fedlab.losses.base import ClientStats
from fedlab.models.bits import packed
from fedlab.strategies.fedheal import FedHEALParameters
from fedlab.training.task import Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

ROUNDS = "rounds"
"""Name of the number of a client's rounds, beside the names of parameters."""


class FedHEAL(ClientTrainer):
    """The base's client trainer, with a memory of the direction of changes."""

    def __new__(cls, *given: Any) -> FedHEAL:
        """An object that is also the base's client trainer."""
        if cls is not FedHEAL:  # a copy
            return object.__new__(cls)
        parameters: FedHEALParameters = given[0]
        return object.__new__(wrap_class(cls, _local_half(parameters)))

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: FedHEALParameters, task: Task
    ) -> None:
        super().__init__(parameters.base, task)
        self.heal = parameters
        learning = set(task.anatomy.learning)
        self.masked = tuple(name for name in self.shared if name in learning)

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Whatever the base's client trainer refuses.

        Raises:
            InputError: With the reason.
        """
        base = scenario.strategy.base
        half: type[ClientTrainer] = registry.resolve("clients", base.client_trainer)
        half.check(scenario.model_copy(update={"strategy": base}), model)

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers how often each parameter has grown, and in how many rounds."""
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
        """Sends the base's update with inconsistent changes taken back, and what was kept."""
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
    """Where the share of earlier rounds with the direction of this one is above τ.

    Args:
        up: Whether w - θ is at least 0 in this round, bool.
        grown: In how many earlier rounds it was, an integer tensor of the same shape.
        rounds: Number of earlier rounds, a scalar; without any, everything is consistent.
        tau: τ.
    """
    agreed = torch.where(up, grown, rounds - grown)
    share = exact(agreed).double() / exact(rounds).clamp(min=1).double()
    return (share > tau).to(up.device) | (rounds == 0)


def _local_half(parameters: FedHEALParameters) -> type[ClientTrainer]:
    return registry.resolve("clients", parameters.base.client_trainer)
