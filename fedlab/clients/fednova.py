"""FedNova, client trainer: local SGD that sends the normalised change of the model.

See `fedlab.strategies.fednova` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.fednova import FedNovaParameters
from fedlab.training.lists import copied
from fedlab.training.task import Batch


class FedNova(ClientTrainer[FedNovaParameters]):
    """Local SGD, with or without momentum and a proximal term around the received model.

    The learning rate is the same for all and left out of the sum of coefficients.
    """

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Stores the received parameters, where there is a proximal term."""
        carry = super().begin(received, client_state, stats)
        if not self.parameters.mu:
            return carry
        return carry._replace(extra={**carry.extra, "anchor": copied(carry.parameters)})

    def phases(self) -> Sequence[Phase]:
        """One; a proximal term replaces its objective, which excludes low-rank form."""
        (usual,) = super().phases()
        return [replace(usual, objective=self.held_close) if self.parameters.mu else usual]

    def held_close(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with μ/2 ‖θ - w‖² added."""
        loss, outputs = self.objective(parameters, carry, batch)
        anchor = carry.extra["anchor"]
        distance = sum((parameters[name] - anchor[name]).square().sum() for name in parameters)
        return loss + self.parameters.mu / 2 * distance, outputs

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends d_i = (w - θ) / a_i and a_i; a client that took no step sends zeros."""
        update = super().finish(carry, received, steps)
        spec = self.task.optimizer.spec
        pull = self.parameters.mu * self.task.optimizer.learning_rate(received.server_round)
        total = coefficient_sum(steps, spec.momentum, nesterov=spec.nesterov, pull=pull)
        arrays = {
            "direction": {
                name: (received.model[name] - value) / (total if steps else 1.0)
                for name, value in carry.parameters.items()
            },
            "coefficients": {"sum": torch.tensor(total, dtype=torch.float64)},
        }
        untrained = {name: carry.buffers[name] for name in self.shared if name in carry.buffers}
        if untrained:
            arrays["untrained"] = untrained
        return update._replace(arrays=arrays)


def coefficient_sum(
    steps: int, momentum: float, *, nesterov: bool = False, pull: float = 0.0
) -> float:
    """‖a_i‖₁: the sum of the coefficients with which a round's gradients enter its change.

    With a proximal term, that is how far gradients of 1 go, each less `pull` times how far the
    client is: for plain SGD (1 - (1 - ημ)^K) / (ημ).

    Args:
        steps: K, the number of steps.
        momentum: ρ. A gradient is in every velocity from its own on, ρ times less in each:
            (K - ρ (1 - ρ^K) / (1 - ρ)) / (1 - ρ).
        nesterov: Whether steps are along g + ρ v, which sums to K + ρ times that.
        pull: η μ, of a proximal term.
    """
    if pull:
        return _distance(steps, momentum, nesterov, pull)
    faded = momentum * (1 - momentum**steps) / (1 - momentum)
    total = (steps - faded) / (1 - momentum)
    return steps + momentum * total if nesterov else total


def _distance(steps: int, momentum: float, nesterov: bool, pull: float) -> float:
    gone = velocity = 0.0
    for _ in range(steps):
        gradient = 1 - pull * gone
        velocity = momentum * velocity + gradient
        gone += gradient + momentum * velocity if nesterov else velocity
    return gone
