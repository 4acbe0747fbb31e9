"""FedNova, client trainer: local SGD whose change is divided by how much it was accumulated.

Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization, Wang, Liu,
Liang, Joshi, Poor, NeurIPS 2020, arXiv 2007.07481.

Up: the normalised change of the model, the sum that normalised it, and untrained tensors (running
statistics). Down: the whole model. Stays: nothing.
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
    """‖a_i‖₁: what a round's gradients, were they all the same, would add up to.

    Args:
        steps: K, the number of steps.
        momentum: ρ. A gradient is in every velocity from its own on, ρ times less in each:
            (K - ρ (1 - ρ^K) / (1 - ρ)) / (1 - ρ).
        nesterov: Whether steps are along g + ρ v, which sums to K + ρ times that.
    """
    faded = momentum * (1 - momentum**steps) / (1 - momentum)
    total = (steps - faded) / (1 - momentum)
    return steps + momentum * total if nesterov else total
