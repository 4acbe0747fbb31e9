"""Base of client trainers that go in front of another one and replace its objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedlab.clients.base import ClientTrainer
from fedlab.clients.families.in_front import InFrontTrainer, trainer_of
from fedlab.errors import InputError
from fedlab.models.head import find_head
from fedlab.training.optimizer import Optimizer
from fedlab.training.task import Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

OWN = ("objective", "loss", "step", "answer", "training_data")
REMEDY = "choose a base such as fedavg, fedprox or scaffold"


class OneObjective(InFrontTrainer):
    """In front of a base that minimises the scenario's loss on labelled samples.

    What the base adds (a pull, corrected gradients, layers that stay) stays as it is.
    """

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a base with an objective of its own, and what the base refuses.

        Raises:
            InputError: With the reason and the remedy.
        """
        base = scenario.strategy.base
        trainer_class = trainer_of(base)
        if any(getattr(trainer_class, each) is not getattr(ClientTrainer, each) for each in OWN):
            raise InputError(
                f"strategy.base: '{base.name}' decides itself what its clients minimise, which "
                f"{scenario.strategy.name} would replace; {REMEDY}"
            )
        super().check(scenario, model)
        head = find_head(model)
        classes = head.layer.out_features if head else 1
        task = Task(model, Optimizer(scenario.training.optimizer), classes=classes)
        for phase in trainer_class(base, task).phases():
            if phase.objective or phase.step or phase.split != "labelled" or phase.unlabelled:
                raise InputError(
                    f"strategy.base: '{base.name}' has steps with an objective of their own, which "
                    f"{scenario.strategy.name} would not reach; {REMEDY}"
                )
