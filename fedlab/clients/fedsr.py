"""FedSR, client trainer: the loss of a drawn representation, and two penalties on it.

See `fedlab.strategies.fedsr` for the paper and what travels.
"""

from __future__ import annotations

from torch import Tensor

from fedlab.clients.base import Carry, ClientTrainer
from fedlab.models.gaussian_head import divergence, find_gaussian_head, listen_to_gaussians
from fedlab.records import Tensors
from fedlab.strategies.fedsr import FedSRParameters, references
from fedlab.training.task import Batch, Task


class FedSR(ClientTrainer[FedSRParameters]):
    """Minimises the loss + α_1 mean ‖z‖ + α_2 mean KL(N(C m, (Cσ)²) ‖ N(r_y, ρ_y²)).

    C and every class's r and ρ are learnt with the network, and stay with the client. Noise is
    drawn for each client, so clients are not stacked.
    """

    def __init__(self, parameters: FedSRParameters, task: Task) -> None:
        super().__init__(parameters, task)
        found = find_gaussian_head(task.model)
        assert found is not None  # `FedSRParameters.check` refuses other networks
        self.gaussian = found[1]
        self.references = references(task.model)

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the penalties added."""
        with listen_to_gaussians(self.gaussian) as captured:
            outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        given = captured[-1]
        mean, scale, factor = (parameters[name] for name in self.references)
        apart = divergence(given, mean[batch.labels], scale[batch.labels], factor).mean()
        length = given.drawn.norm(dim=-1).mean()
        loss = self.loss(outputs, batch, carry)
        own = self.parameters
        return loss + own.length * length + own.conditional * apart, outputs
