"""FedRoD, client trainer: balanced softmax for body and generic head, cross-entropy for its own.

See `fedlab.strategies.fedrod` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from fedlab.clients.base import Carry, ClientState, Received, Update
from fedlab.clients.families.balanced import BalancedClient
from fedlab.losses.base import ClientStats
from fedlab.losses.log_loss import log_loss
from fedlab.records import Tensors
from fedlab.strategies.fedrod import FedRoDParameters
from fedlab.training.task import Batch

PERSONAL = "fedrod personal head: "
"""What the personal head's tensors have before the names of the generic one's."""


class FedRoD(BalancedClient[FedRoDParameters]):
    """Minimises CE(G(φ) + log n, y) + CE(stop[G(φ)] + P(stop[φ]), y).

    Both in one step of one optimiser: the first loss has no gradient for P, the second only for P,
    and momentum is kept for each parameter. (A limit of the gradient's norm is for both
    together.)
    """

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Puts the personal head among the parameters."""
        carry = super().begin(received, client_state, stats)
        personal = self.personal_head(received, client_state)
        own = {PERSONAL + name: tensor.clone() for name, tensor in personal.items()}
        parameters = {**carry.parameters, **own}
        learning = {n: t for n, t in parameters.items() if n not in self.task.constant}
        return carry._replace(parameters=parameters, optimizer=self.task.optimizer.start(learning))

    def personal_head(self, received: Received, client_state: ClientState) -> Tensors:
        """The client's own head, by the names of the generic one."""
        if own := client_state.get("personal"):
            return own
        model = self.personal_model(received, client_state)
        generic = {name: model[name].detach() for name in self.task.head.names}
        if self.parameters.start == "copy":
            return generic
        return {name: torch.zeros_like(tensor) for name, tensor in generic.items()}

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both losses; the outputs are the personal prediction."""
        network = {n: t for n, t in parameters.items() if not n.startswith(PERSONAL)}
        features, generic = self.task.features_and_outputs(network, carry.buffers, batch.inputs)
        own = (parameters[PERSONAL + name] for name in self.task.head.names)
        personal = generic.detach() + linear(features.detach(), *own)
        loss = self.balanced(generic, batch, carry) + log_loss(personal, batch.labels).mean()
        return loss, personal

    def evaluated_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The personal prediction."""
        model = self.personal_model(received, client_state)
        return {**model, **self.parameters.client_model(model, client_state)}

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends body and generic head, keeps the personal one."""
        update = super().finish(carry, received, steps)
        own = {name: carry.parameters[PERSONAL + name] for name in self.task.head.names}
        return update._replace(client_state={**update.client_state, "personal": own})
