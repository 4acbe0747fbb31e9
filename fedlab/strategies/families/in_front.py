"""The base of methods that wrap another one, the `base`, which trains the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import model_validator
from torch import nn

from fedlab.config import registry
from fedlab.config.component import Chosen
from fedlab.federation.method_wrapper import wrap_class
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.requirements import refuse_base_with_a_base
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment
    from fedlab.partition.partition import Partition


class InFrontParameters(StrategyParameters):
    """Parameters of a method with a base; the base's properties of rounds apply.

    Attributes:
        base: The method that trains.
    """

    weighting_key: ClassVar[str] = "base.weighting"
    base: Chosen[StrategyParameters] = "fedavg"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _leaves_weighting_to_the_base(self) -> Self:
        if self.weighting != "examples":
            raise ValueError(
                f"weighting '{self.weighting}' is that of the base; write strategy.base.weighting"
            )
        return self

    @property
    def base_strategy(self) -> type[Strategy]:
        """The base's strategy."""
        return registry.resolve("strategies", self.base.name)

    @property
    def clients_count(self) -> ClientsCount:
        """That of the base, which runs all rounds."""
        return self.base.clients_count

    @property
    def tests_both(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the base."""
        return self.base.tests_both

    @property
    def reports_validation(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the base."""
        return self.base.reports_validation

    @property
    def tests_more_than_the_model(self) -> bool:
        """That of the base."""
        return self.base.tests_more_than_the_model

    def client_model(self, server: Tensors, kept: Mapping[str, Tensors]) -> Tensors:
        """That of the base."""
        return self.base.client_model(server, kept)

    def trained_beside(self, model: nn.Module) -> int:
        """That of the base."""
        return self.base.trained_beside(model)

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """Those of the base."""
        return self.base.local_parameter_names(model, policy)

    def adapt(self, model: nn.Module) -> nn.Module:
        """The network adapted to the base."""
        return self.base.adapt(model)

    def check_networks(self, models: Sequence[nn.Module]) -> None:
        """Refuses several networks for any base: the method in front of it knows one."""
        super().check_networks(models)

    def reassign(self, partition: Partition) -> Partition:
        """The base's partition."""
        return self.base.reassign(partition)

    def most_examples(self, scenario: Experiment, train: int, phases: int, classes: int) -> int:
        """That of the base."""
        return self.base.most_examples(scenario, train, phases, classes)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a base that itself goes in front of another one; makes the base's checks.

        Raises:
            InputError: With the reason and the remedy.
        """
        refuse_base_with_a_base(self.base)
        self.base.check(scenario.model_copy(update={"strategy": self.base}), model)


class InFront(Strategy):
    """A strategy that is also its base: an object of a subclass of both.

    Its `parameters` are the base's.
    """

    def __new__(
        cls,
        model: nn.Module,
        parameters: Any,
        settings: ServerSettings | None = None,
    ) -> Self:
        """An object that is also the base."""
        return object.__new__(wrap_class(cls, parameters.base_strategy))

    def __init__(
        self,
        model: nn.Module,
        parameters: InFrontParameters,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters.base, settings)
