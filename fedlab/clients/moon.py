"""MOON, client trainer: the local loss plus a model-contrastive term.

See `fedlab.strategies.moon` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize, softplus

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.strategies.moon import MOONParameters
from fedlab.training.task import Batch, Task

SHORTEST = 1e-8
"""Least length that a representation is divided by, as in `torch.cosine_similarity`."""


class MOON(ClientTrainer[MOONParameters]):
    """Minimises the loss and μ ℓ_con, the contrastive term of equation 3 of the paper.

    ℓ_con = -log(e^{cos(z, z_glob)/τ} / (e^{cos(z, z_glob)/τ} + e^{cos(z, z_prev)/τ})), with the
    representations z of the network that learns, of the received one and of the client's last one.
    """

    def __init__(self, parameters: MOONParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.own = parameters

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Remembers the received model and the client's last one.

        A client that has none takes the received one in its place: the term is then a constant.
        """
        carry = super().begin(received, client_state, stats)
        last = client_state.get("previous", received.model)
        extra = {
            "global": {name: channels_last(tensor) for name, tensor in received.model.items()},
            "previous": {name: channels_last(tensor) for name, tensor in last.items()},
        }
        return carry._replace(extra={**carry.extra, **extra})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with the contrastive term added."""
        own, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        with evaluation_mode(self.task.model):
            received = self._representations(carry.extra["global"], batch)
            previous = self._representations(carry.extra["previous"], batch)
        loss = self.loss(outputs, batch, carry)
        apart = contrast(own, received, previous, self.own.tau)
        return torch.add(loss, apart, alpha=self.own.mu), outputs

    def _representations(self, state: Tensors, batch: Batch) -> torch.Tensor:
        """What the last layer of a frozen network reads, shape (batch, features)."""
        return self.task.features_and_outputs(*self.task.split(state), batch.inputs)[0]

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, and keeps a copy of it for the client's next round."""
        update = super().finish(carry, received, steps)
        return update._replace(
            client_state={**update.client_state, "previous": update.arrays["arrays"]}
        )


def contrast(own: torch.Tensor, near: torch.Tensor, far: torch.Tensor, tau: float) -> torch.Tensor:
    """The mean contrastive loss of representations of shape (batch, features).

    The difference of the two cosines is one inner product, with the difference of unit vectors.
    """
    towards, away = normalize(torch.stack([near, far]), dim=-1, eps=SHORTEST).unbind()
    apart = normalize(own, dim=-1, eps=SHORTEST) * ((away - towards) / tau)
    return softplus(apart.sum(dim=-1)).mean()
