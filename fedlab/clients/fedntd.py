"""FedNTD, client trainer: distils the received model's predictions for the not-true classes.

See `fedlab.strategies.fedntd` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch.nn.functional import log_softmax

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received
from fedlab.losses.base import ClientStats
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.strategies.fedntd import FedNTDParameters
from fedlab.training.task import Batch, Task


class FedNTD(ClientTrainer[FedNTDParameters]):
    """Minimises the loss and β times the not-true distillation from the received model."""

    def __init__(self, parameters: FedNTDParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.own = parameters

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Stores the received model, the teacher."""
        carry = super().begin(received, client_state, stats)
        teacher = {name: channels_last(tensor) for name, tensor in received.model.items()}
        return carry._replace(extra={**carry.extra, "teacher": teacher})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss with the distillation added."""
        outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        with evaluation_mode(self.task.model):
            taught = self.task.outputs(*self.task.split(carry.extra["teacher"]), batch.inputs)
        distance = not_true_distance(outputs, taught, batch.labels, self.own.tau)
        return self.loss(outputs, batch, carry) + self.own.beta * distance, outputs


def not_true_distance(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, tau: float
) -> torch.Tensor:
    """The mean of τ² KL(teacher ‖ student) of the softmax over all classes but the label.

    The factor τ² is that of the authors' code.

    Args:
        student: Logits of shape (batch, classes).
        teacher: Logits of the same shape.
        labels: int64 of shape (batch,).
        tau: Temperature of both.
    """
    classes = torch.arange(student.shape[-1], device=labels.device)
    true = labels.unsqueeze(-1) == classes

    def chances(logits: torch.Tensor) -> torch.Tensor:
        """Logarithms, with 0 for the label, where there is nothing to compare."""
        log_chances = log_softmax((logits / tau).masked_fill(true, -torch.inf), dim=-1)
        return log_chances.masked_fill(true, 0.0)

    theirs, own = chances(teacher), chances(student)
    return tau**2 * (theirs.exp() * (theirs - own)).sum(dim=-1).mean()
