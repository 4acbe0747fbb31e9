"""FedProx, client trainer: the local loss plus a proximal term around the received model.

See `fedlab.strategies.fedprox` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Pull, Received
from fedlab.losses.base import ClientStats
from fedlab.training.lists import copied


class FedProx(ClientTrainer):
    """Minimises F(θ) + μ/2 ‖θ - w‖², w the received model (equation 2 of the paper)."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Stores the received parameters as the anchor w, and the received μ.

        Flower's own FedProx sends μ under the same key, so this trainer also serves `flwr:FedProx`.
        """
        carry = super().begin(received, client_state, stats)
        anchor = copied(carry.parameters)
        device = next((value.device for value in anchor.values()), None)
        mu = torch.full((), float(received.config["proximal-mu"]), device=device)
        return carry._replace(extra={**carry.extra, "anchor": anchor, "proximal": {"mu": mu}})

    def pull(self, carry: Carry, phase: Phase) -> Pull:
        """The proximal term."""
        return Pull(carry.extra["proximal"]["mu"], carry.extra["anchor"])
