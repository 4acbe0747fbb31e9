"""q-FedAvg, client trainer: local SGD whose change is weighted by the loss of the received model.

See `fedlab.strategies.qfedavg` for the paper and what travels.
"""

from __future__ import annotations

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, Received, Update
from fedlab.clients.families.received_loss import ReceivedLoss
from fedlab.strategies.qfedavg import QFedAvgParameters

LEAST = 1e-10
"""Added to a loss whose powers are taken, as in the authors' code."""


class QFedAvg(ReceivedLoss[QFedAvgParameters]):
    """Sends F^q Δ and h = q F^(q-1) ‖Δ‖² + L F^q, with Δ = L (w - θ) and L = 1/η.

    F is the loss of w, the model as it came down, on the client's training samples; not the mean
    loss during training, which is another number. η is the round's learning rate.
    """

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the weighted change and h; a client without labelled samples sends zeros."""
        update = super().finish(carry, received, steps)
        q, lipschitz = (
            self.parameters.q,
            1 / self.task.optimizer.learning_rate(received.server_round),
        )
        measured = carry.extra["received loss"]["count"] > 0
        loss = self.received_loss(carry) + LEAST
        power = loss**q * measured
        change = {
            name: lipschitz * (received.model[name] - value)
            for name, value in carry.parameters.items()
        }
        square = sum(exact(each).double().square().sum() for each in change.values())
        arrays = {
            "change": {name: (power * each).to(each.dtype) for name, each in change.items()},
            "scale": {"h": (q * loss ** (q - 1) * square + lipschitz * loss**q) * measured},
        }
        untrained = {name: carry.buffers[name] for name in self.shared if name in carry.buffers}
        if untrained:
            arrays["untrained"] = untrained
        return update._replace(arrays=arrays)
