"""FedNova, client trainer: local SGD that sends the normalised change of the model.

See `fedlab.strategies.fednova` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientTrainer, Received, Update


class FedNova(ClientTrainer):
    """Local SGD, with or without momentum; the learning rate is the same for all and left out."""

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends d_i = (w - θ) / a_i and a_i; a client that took no step sends zeros."""
        update = super().finish(carry, received, steps)
        spec = self.task.optimizer.spec
        total = coefficient_sum(steps, spec.momentum, nesterov=spec.nesterov)
        arrays = {
            "direction": {
                name: (received.model[name] - value) / max(total, 1.0)
                for name, value in carry.parameters.items()
            },
            "coefficients": {"sum": torch.tensor(total, dtype=torch.float64)},
        }
        untrained = {name: carry.buffers[name] for name in self.shared if name in carry.buffers}
        if untrained:
            arrays["untrained"] = untrained
        return update._replace(arrays=arrays)


def coefficient_sum(steps: int, momentum: float, *, nesterov: bool = False) -> float:
    """‖a_i‖₁: the sum of the coefficients with which a round's gradients enter its change.

    Args:
        steps: K, the number of steps.
        momentum: ρ. A gradient is in every velocity from its own on, ρ times less in each:
            (K - ρ (1 - ρ^K) / (1 - ρ)) / (1 - ρ).
        nesterov: Whether steps are along g + ρ v, which sums to K + ρ times that.
    """
    faded = momentum * (1 - momentum**steps) / (1 - momentum)
    total = (steps - faded) / (1 - momentum)
    return steps + momentum * total if nesterov else total
