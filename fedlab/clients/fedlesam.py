"""FedLESAM, client trainer: gradients at a point perturbed along the global model's last change.

See `fedlab.strategies.fedlesam` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.fedlesam import FedLESAMParameters
from fedlab.training.lists import added, norm, times
from fedlab.training.task import Batch

EPS = 1e-12
"""Lower bound of the distance, against division by zero."""


class FedLESAM(ClientTrainer[FedLESAMParameters]):
    """Local steps with ∇F(θ + δ), δ = ρ (w_old - w) / ‖w_old - w‖, one gradient each.

    w_old is the global model that the client received in its last round, w that of this one. δ is
    the same in all steps of a round, and zero in a client's first round. Loss and accuracy are
    those at θ + δ.
    """

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Computes δ."""
        carry = super().begin(received, client_state, stats)
        old = client_state.get("last", {})
        back = {n: old.get(n, w) - w for n, w in received.model.items() if n in carry.parameters}
        shift = uphill(back, self.parameters.rho)
        return carry._replace(extra={**carry.extra, "shift": shift})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Gradients at θ + δ."""
        shift = carry.extra["shift"]
        moved = added({name: carry.parameters[name] for name in shift}, shift)
        there = carry._replace(parameters={**carry.parameters, **moved})
        return super().gradients(there, batch, phase)

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, and keeps the received one."""
        update = super().finish(carry, received, steps)
        last = {name: received.model[name] for name in carry.extra["shift"]}
        return update._replace(client_state={**update.client_state, "last": last})


def uphill(back: Tensors, rho: float) -> Tensors:
    """Named tensors scaled to the joint norm ρ."""
    return times(back, rho / norm(back).clamp(min=EPS))
