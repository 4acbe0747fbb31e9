"""FedDC, client trainer: local SGD around the received model less the client's drift.

See `fedlab.strategies.feddc` for the paper and what travels.
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
from fedlab.clients.scaffold import mean_gradient_change
from fedlab.losses.base import ClientStats
from fedlab.models.memory_format import channels_last
from fedlab.strategies.feddc import FedDCParameters
from fedlab.training.lists import added, divided, less, times


class FedDC(ClientTrainer[FedDCParameters]):
    """Minimises F_i(θ) + α/2 ‖θ - (w - h_i)‖² + ⟨θ, G - g_i⟩.

    With ``by_share``, α/s_i and G/s_i stand in the place of α and G, and G is the mean of s_i g_i;
    s_i is the client's number of samples over the mean one. What it keeps is s_i g_i.
    """

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers drift h_i and gradient s_i g_i, zeros at first, and what the penalty needs."""
        carry = super().begin(received, client_state, stats)
        mean = received.arrays["gradient"]
        drift, gradient = (
            client_state.get(record)
            or {name: torch.zeros_like(each) for name, each in mean.items()}
            for record in ("drift", "gradient")
        )
        names = carry.parameters
        centre = less(carry.parameters, {name: channels_last(drift[name]) for name in names})
        both = ({n: channels_last(record[n]) for n in names} for record in (mean, gradient))
        own = {"drift": drift, "gradient": gradient, "centre": centre, "correction": less(*both)}
        if self.parameters.by_share:
            share = next(iter(mean.values())).new_full((), share_of(received, stats))
            own["correction"] = divided(own["correction"], share)
            own["share"] = {"value": share, "weight": self.parameters.alpha / share}
        return carry._replace(extra={**carry.extra, **own})

    def pull(self, carry: Carry, phase: Phase) -> Pull:
        """The penalty and the linear term."""
        extra, weight = carry.extra, self.parameters.alpha
        if self.parameters.by_share:
            return Pull(extra["share"]["weight"], extra["centre"], extra["correction"])
        return Pull(weight, extra["centre"], extra["correction"])

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the change of s_i g_i; h_i grows by θ - w, g_i becomes the mean gradient."""
        update = super().finish(carry, received, steps)
        mean = received.arrays["gradient"]
        if self.parameters.by_share:
            share = carry.extra["share"]["value"]
            mean = divided(mean, share)
            change = mean_gradient_change(self, carry.parameters, received, steps, mean)
            change = times(change, share)
        else:
            change = mean_gradient_change(self, carry.parameters, received, steps, mean)
        drift = less(added(carry.extra["drift"], carry.parameters), received.model)
        gradient = added(carry.extra["gradient"], change)
        return update._replace(
            arrays={**update.arrays, "gradient": change},
            client_state={**update.client_state, "drift": drift, "gradient": gradient},
        )
