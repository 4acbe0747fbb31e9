"""FedDyn, client trainer: the local loss plus a dynamic regulariser.

See `fedlab.strategies.feddyn` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import (
    Carry,
    ClientState,
    ClientTrainer,
    Phase,
    Pull,
    Received,
    Update,
)
from fedlab.clients.families.shares import share_of
from fedlab.losses.base import ClientStats
from fedlab.models.memory_format import channels_last
from fedlab.strategies.feddyn import FedDynParameters
from fedlab.training.lists import copied, divided, less, times


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
        """Stores w and h_i, which is zeros for a client that has not taken part before."""
        carry = super().begin(received, client_state, stats)
        anchor = copied(carry.parameters)
        h = client_state.get("h") or {name: torch.zeros_like(w) for name, w in anchor.items()}
        slope = times({name: channels_last(value) for name, value in h.items()}, -1.0)
        own = {"anchor": anchor, "-h": slope}
        if self.parameters.by_share:
            share = next(iter(anchor.values())).new_full((), share_of(received, stats))
            own["slope"] = divided(slope, share)
            own["share"] = {"weight": self.alpha / share}
        return carry._replace(extra={**carry.extra, **own})

    def pull(self, carry: Carry, phase: Phase) -> Pull:
        """The quadratic and the linear term."""
        extra = carry.extra
        if self.parameters.by_share:
            return Pull(extra["share"]["weight"], extra["anchor"], extra["slope"])
        return Pull(self.alpha, extra["anchor"], extra["-h"])

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Keeps h_i, which at a local optimum is the gradient there."""
        update = super().finish(carry, received, steps)
        moved = less(carry.parameters, carry.extra["anchor"])
        h = less(times(moved, -self.alpha), carry.extra["-h"])
        return update._replace(client_state={**update.client_state, "h": h})
