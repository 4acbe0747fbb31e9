"""What a scenario's ``strategy`` block may say, whatever the method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flwr.serverapp.strategy import Strategy as FlowerStrategy
from pydantic import field_validator, model_validator
from torch import nn
from typing_extensions import TypeVar

from fedlab.config import registry
from fedlab.config.component import Component
from fedlab.config.ranges import Range
from fedlab.models.anatomy import anatomy_of
from fedlab.models.norms import NormPolicy, local_names
from fedlab.renamed import honour_old_names

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment
    from fedlab.partition.partition import Partition

ClientsCount = Literal["examples", "uniform", "alone", "rule"]


class StrategyParameters(Component):
    """Parameters common to all methods; each method's `Parameters` adds its own.

    Attributes:
        client: Name of the client trainer; by default the one with the strategy's own name.
        weighting: Whether a client counts by its number of examples or every client the same.
    """

    group: ClassVar[str] = "strategies"
    server_half: ClassVar[type | None] = None
    """The strategy whose parameters these are, if it has them to itself."""
    space: ClassVar[Mapping[str, Range]] = {}
    """What `fedlab tune` draws for the method, by the names of its parameters; about a tenth of a
    default to ten times it, or the values that are commonly tried."""
    client: str | None = None
    weighting: Literal["examples", "uniform"] = "examples"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        honour_old_names(cls, {"stays": "local_parameter_names", "regroup": "reassign"})

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads the block; a class of Flower's kind has another name.

        Raises:
            ValueError: With that name.
        """
        block = super().block_of(target)
        if block is target and isinstance(target, type) and issubclass(target, FlowerStrategy):
            path = f"{target.__module__}:{target.__qualname__}"
            raise ValueError(f"'{path}' is a strategy of Flower's kind; name it 'flwr:{path}'")
        return block

    @field_validator("client", mode="before")
    @classmethod
    def _takes_a_class_for_its_name(cls, value: Any) -> Any:
        return registry.name_of("clients", value) if isinstance(value, type) else value

    @model_validator(mode="before")
    @classmethod
    def _is_named_after_its_strategy(cls, values: Any) -> Any:
        """``MyMethod.Parameters(mu=1)`` needs no name: it is that of its strategy."""
        if isinstance(values, dict) and "name" not in values and cls.server_half is not None:
            return {"name": registry.name_of("strategies", cls.server_half), **values}
        return values

    @property
    def client_trainer(self) -> str:
        """Registered name of the client trainer that goes with this strategy."""
        return self.client or self.name

    @property
    def clients_count(self) -> ClientsCount:
        """How clients count in what the method minimises.

        ``examples`` and ``uniform`` as `weighting` has them, ``alone`` where every client minimises
        its own loss, ``rule`` where a rule of the method's own says what each of them counts.
        """
        return self.weighting

    def trained_beside(self, model: nn.Module) -> int:
        """Parameters that a client trains beside those of the network.

        Args:
            model: The network, adapted.
        """
        return 0

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """Names of the tensors that never leave a client, as in ``model.state_dict()``.

        Beside those that nothing moves, and buffers that a module keeps to itself.

        Args:
            model: The network.
            policy: The method's rule for normalisation layers.
        """
        return local_names(model, policy)

    def divide(
        self, model: nn.Module, policy: NormPolicy
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the tensors that travel, and of those that a client keeps from round to round.

        Both are tensors that training moves: what is frozen, and buffers that never leave and are
        never kept, are the network's own in every process.
        """
        anatomy = anatomy_of(model)
        local = {*anatomy.among(self.local_parameter_names(model, policy)), *anatomy.local}
        moving = anatomy.moving
        return tuple(n for n in moving if n not in local), tuple(n for n in moving if n in local)

    def adapt(self, model: nn.Module) -> nn.Module:
        """The network as the method wants it (FedWon takes its normalisation out)."""
        return model

    def reassign(self, partition: Partition) -> Partition:
        """Who owns which samples: what the scenario says (centralised training pools them)."""
        return partition

    def most_examples(self, scenario: Experiment, train: int, phases: int, classes: int) -> int:
        """The largest ``num-examples`` that a client can honestly say it has learnt from.

        Args:
            scenario: The experiment.
            train: Its training samples.
            phases: Phases of a local round, each of which counts the samples that it reads.
            classes: Classes there are.
        """
        return train * phases

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a scenario in which the method makes no sense.

        Raises:
            InputError: With the reason and the remedy.
        """


P = TypeVar("P", bound=StrategyParameters, default=StrategyParameters)
"""The parameters of a method, by which its strategy and its client trainer are generic."""
