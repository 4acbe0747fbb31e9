"""FedDC, client trainer: local SGD around the received model less the client's drift.

See `fedlab.strategies.feddc` for the paper and what travels.
"""

from __future__ import annotations

import torch

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.clients.families.shares import share_of
from fedlab.clients.scaffold import mean_gradient_change
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.feddc import FedDCParameters
from fedlab.training.task import Batch


class FedDC(ClientTrainer[FedDCParameters]):
    """Minimises F_i(θ) + α/2 ‖θ - (w - h_i)‖² + ⟨θ, G - g_i⟩.

    With ``by_share``, α/s_i and G/s_i stand in the place of α and G, and G is the mean of s_i g_i;
    s_i is the client's number of samples over the mean one. What it keeps is s_i g_i.
    """

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers drift h_i and gradient s_i g_i, zeros at first, and what the penalty needs."""
        carry = super().begin(received, client_state, stats)
        mean, share = received.arrays["gradient"], share_of(received, stats)
        zeros = {name: torch.zeros_like(tensor) for name, tensor in mean.items()}
        drift, gradient = client_state.get("drift", zeros), client_state.get("gradient", zeros)
        centre = {name: value - drift[name] for name, value in carry.parameters.items()}
        correction = {name: (mean[name] - gradient[name]) / share for name in carry.parameters}
        own = {"drift": drift, "gradient": gradient, "centre": centre, "correction": correction}
        shares = {"share": {"value": next(iter(mean.values())).new_tensor(share)}}
        return carry._replace(extra={**carry.extra, **own, **shares})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with the penalty and the linear term added."""
        loss, outputs = super().objective(parameters, carry, batch)
        centre, correction = carry.extra["centre"], carry.extra["correction"]
        alpha = self.parameters.alpha / carry.extra["share"]["value"]
        distance = sum((parameters[name] - centre[name]).square().sum() for name in centre)
        linear = sum((parameters[name] * correction[name]).sum() for name in correction)
        return loss + alpha / 2 * distance + linear, outputs

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the change of s_i g_i; h_i grows by θ - w, g_i becomes the mean gradient."""
        update = super().finish(carry, received, steps)
        share = carry.extra["share"]["value"]
        mean = {name: tensor / share for name, tensor in received.arrays["gradient"].items()}
        moved = mean_gradient_change(self, carry.parameters, received, steps, mean)
        change = {name: share * value for name, value in moved.items()}
        drift = {
            name: value + carry.parameters[name] - received.model[name]
            for name, value in carry.extra["drift"].items()
        }
        gradient = {name: own + change[name] for name, own in carry.extra["gradient"].items()}
        return update._replace(
            arrays={**update.arrays, "gradient": change},
            client_state={**update.client_state, "drift": drift, "gradient": gradient},
        )
