"""SLA, client trainer: the loss of pairs of class and view, in the place of the base's loss.

See `fedlab.strategies.sla` for the paper and what travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fedlab.clients.base import Carry
from fedlab.clients.families.in_front import trainer_of
from fedlab.clients.families.one_objective import REMEDY, OneObjective
from fedlab.errors import InputError
from fedlab.losses.log_loss import log_loss
from fedlab.models.views import aggregated, find_view_head
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import why_no_outputs
from fedlab.strategies.sla import SLAParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.task import Batch, Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class SLA(OneObjective):
    """Minimises the mean over images x and views j of CE(z(t_j x), (y, j)).

    With distillation also CE(u(x), y) + T² KL(softmax(a/T) ‖ softmax(u(x)/T)), u the plain head and
    a the mean over views j of z(t_j x) for (class, j), without a gradient.
    """

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: SLAParameters, task: Task
    ) -> None:
        super().__init__(parameters, task)
        self.sla = parameters
        found = find_view_head(task.model)
        assert found is not None  # `check` refuses other networks
        self.path, self.head = found

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without a head, and bases that treat it unlike the outputs for pairs.

        Raises:
            InputError: With the reason and the remedy.
        """
        super().check(scenario, model)
        base, found = scenario.strategy.base, find_view_head(model)
        if found is None:
            raise InputError(
                "strategy.name: sla puts a layer beside the last dense layer, and the model "
                f"'{scenario.model.name}' {why_no_outputs(model)}"
            )
        task = Task(model, Optimizer(scenario.training.optimizer), classes=1)
        trainer = trainer_of(base)(base, task)
        heads = [f"{found[0]}.{each}.weight" for each in ("plain", "pairs")]
        apart = len({name in trainer.local for name in heads}) > 1
        for phase in trainer.phases():
            trained = phase.trained
            apart |= trained is not None and len({name in trained for name in heads}) > 1
        if apart:
            raise InputError(
                f"strategy.base: '{base.name}' treats the head apart from what sla puts beside it; "
                f"{REMEDY}"
            )

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of all views; the outputs are those that `predict` names."""
        own = self.sla
        views = len(own.views)
        with self.head.listen() as captured:
            plain = self.task.outputs(parameters, carry.buffers, own.views.of(batch.inputs))
        joint = self.head.joint(plain, self._pairs(parameters, captured[-1].to(plain.dtype)))
        shown = torch.arange(views, device=batch.labels.device)
        labels = (batch.labels.unsqueeze(-1) * views + shown).flatten()
        loss = log_loss(joint.flatten(start_dim=1), labels).mean()
        loss = views * loss if own.sum_of_views else loss
        single, together = plain[::views], aggregated(joint)
        if own.predict == "distilled":
            loss = loss + log_loss(single, batch.labels).mean()
            loss = loss + distillation(together.detach(), single, own.temperature)
        return loss, together if own.predict == "aggregated" else single

    def _pairs(self, parameters: Tensors, features: Tensor) -> Tensor:
        """The outputs of the layer beside the head."""
        names = (f"{self.path}.pairs.{name}" for name, _ in self.head.pairs.named_parameters())
        return linear(features, *(parameters[name] for name in names))


def distillation(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T² times the mean over a batch of KL(softmax(teacher/T) ‖ softmax(student/T)).

    Args:
        teacher: Outputs of shape (batch, classes).
        student: Outputs of the same shape.
        temperature: T.
    """
    wanted = (teacher / temperature).log_softmax(dim=-1)
    given = (student / temperature).log_softmax(dim=-1)
    return temperature**2 * (wanted.exp() * (wanted - given)).sum(dim=-1).mean()
