"""FedDyn, client trainer: the local loss plus a dynamic regulariser.

See `fedlab.strategies.feddyn` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.clients.families.shares import share_of
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors, copied
from fedlab.strategies.feddyn import FedDynParameters
from fedlab.training.task import Batch


class FedDyn(ClientTrainer[FedDynParameters]):
    """Minimises F_i(θ) - ⟨h_i, θ⟩ + α/2 ‖θ - w‖², then h_i ← h_i - α (θ - w) (Algorithm 1).

    With ``by_share``, α/s_i stands in the place of α, s_i being the client's number of samples over
    the mean one. What it keeps is s_i h_i.
    """

    @property
    def alpha(self) -> float:
        """Weight of the penalty."""
        return self.parameters.alpha

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers w and h_i, which is zeros for a client that has not taken part before."""
        carry = super().begin(received, client_state, stats)
        anchor = copied(carry.parameters)
        h = client_state.get("h") or {name: torch.zeros_like(w) for name, w in anchor.items()}
        own = {"anchor": anchor, "h": h}
        if self.parameters.by_share:
            share = next(iter(anchor.values())).new_tensor(share_of(received, stats))
            own["share"] = {"value": share}
        return carry._replace(extra={**carry.extra, **own})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with the linear and the quadratic term added."""
        loss, outputs = super().objective(parameters, carry, batch)
        anchor, h = carry.extra["anchor"], carry.extra["h"]
        linear = sum((h[name] * parameters[name]).sum() for name in h)
        distance = sum((parameters[name] - anchor[name]).square().sum() for name in anchor)
        if self.parameters.by_share:
            share = carry.extra["share"]["value"]
            return loss + (self.alpha / 2 * distance - linear) / share, outputs
        return loss - linear + self.alpha / 2 * distance, outputs

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Keeps h_i, which at a local optimum is the gradient there."""
        update = super().finish(carry, received, steps)
        anchor = carry.extra["anchor"]
        h = {
            name: value - self.alpha * (carry.parameters[name] - anchor[name])
            for name, value in carry.extra["h"].items()
        }
        return update._replace(client_state={**update.client_state, "h": h})
