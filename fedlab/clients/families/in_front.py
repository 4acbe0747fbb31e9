"""The base of client trainers that go in front of another one (`fedlab.strategies.families`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from torch import nn

from fedlab.clients.base import ClientTrainer
from fedlab.config import registry
from fedlab.federation.method_wrapper import wrap_class
from fedlab.strategies.families.in_front import InFrontParameters
from fedlab.strategies.parameters import StrategyParameters
from fedlab.training.task import Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class InFrontTrainer(ClientTrainer):
    """A client trainer that is also its base's: an object of a subclass of both.

    Its `parameters` are the base's.
    """

    def __new__(cls, *given: Any) -> Self:
        """An object that is also the base's client trainer."""
        if not given:  # a copy, whose class is that subclass already
            return object.__new__(cls)
        return object.__new__(wrap_class(cls, trainer_of(given[0].base)))

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: InFrontParameters, task: Task
    ) -> None:
        super().__init__(parameters.base, task)

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """The checks of the base's client trainer.

        Raises:
            InputError: With the reason.
        """
        base = scenario.strategy.base
        trainer_of(base).check(scenario.model_copy(update={"strategy": base}), model)


def trainer_of(base: StrategyParameters) -> type[ClientTrainer]:
    """The client trainer of a base method."""
    return registry.resolve("clients", base.client_trainer)
