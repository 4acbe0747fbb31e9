"""FedProx, client trainer: the local loss plus a proximal term around the received model.

See `fedlab.strategies.fedprox` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors, copied
from fedlab.training.task import Batch


class FedProx(ClientTrainer):
    """Minimises F(θ) + μ/2 ‖θ - w‖², w the received model (equation 2 of the paper)."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers the received parameters as the anchor w, and μ, which comes down with them.

        Flower's own FedProx sends μ under the same key, so this trainer also serves `flwr:FedProx`.
        """
        carry = super().begin(received, client_state, stats)
        anchor = copied(carry.parameters)
        mu = torch.tensor(float(received.config["proximal-mu"]))
        return carry._replace(extra={**carry.extra, "anchor": anchor, "proximal": {"mu": mu}})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with the proximal term added."""
        loss, outputs = super().objective(parameters, carry, batch)
        anchor = carry.extra["anchor"]
        distance = sum((parameters[name] - anchor[name]).square().sum() for name in parameters)
        return loss + carry.extra["proximal"]["mu"] / 2 * distance, outputs
