"""The keys of a scenario's ``strategy`` block that all methods have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from flwr.serverapp.strategy import Strategy as FlowerStrategy
from pydantic import field_validator, model_validator
from torch import nn
from typing_extensions import TypeVar

from fedlab.config import registry
from fedlab.config.component import Component
from fedlab.config.ranges import Range
from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.norms import NormPolicy, local_names
from fedlab.records import Tensors
from fedlab.renamed import honour_old_names
from fedlab.targets.base import EVERY

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment
    from fedlab.partition.partition import Partition

ClientsCount = Literal["examples", "uniform", "alone", "rule"]

VALIDATION_RECEIVED = "validation_received"
"""Metric of a round: the loss, on the client's validation samples, of the model that came down."""

VALIDATION_TRAINED = "validation_trained"
"""The same of the model that the client has trained from it."""


class StrategyParameters(Component):
    """Parameters common to all methods; each method's `Parameters` adds its own.

    Attributes:
        client: Name of the client trainer; by default the one with the strategy's own name.
        weighting: Whether clients are weighted by their number of examples or uniformly.
    """

    group: ClassVar[str] = "strategies"
    weighting_key: ClassVar[str] = "weighting"
    """Which of the parameters says how clients count; a comparison sets it for all its methods."""
    reports_validation: ClassVar[bool] = False
    """Whether a round's metrics have `VALIDATION_RECEIVED` and `VALIDATION_TRAINED`, of clients
    that have validation samples."""
    server_half: ClassVar[type | None] = None
    """The strategy whose parameters these are, if it has them to itself."""
    targets: ClassVar[frozenset[str]] = EVERY
    """The kinds of `data.target` that the method works with; a method that looks at labels itself,
    or takes outputs for those of a softmax, works with fewer."""
    space: ClassVar[Mapping[str, Range]] = {}
    """What `fedlab tune` draws for the method, by the names of its parameters; about a tenth of a
    default to ten times it, or the values that are commonly tried."""
    why_unheeded: ClassVar[str] = ""
    """Why `weighting` has no effect, in words, where that is so; it is then refused."""
    tests_both: ClassVar[bool] = False
    """Whether the server's model is tested on whole domains although clients test their own."""
    client: str | None = None
    weighting: Literal["examples", "uniform"] = "examples"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        honour_old_names(cls, {"stays": "local_parameter_names", "regroup": "reassign"})

    @model_validator(mode="after")
    def _weighting_is_heeded(self) -> Self:
        if self.why_unheeded and self.weighting != type(self).model_fields["weighting"].default:
            raise ValueError(
                f"weighting '{self.weighting}' would have no effect: {self.why_unheeded}; leave it "
                f'out, in a comparison by naming the method "{self.name} weighting='
                f'{type(self).model_fields["weighting"].default}"'
            )
        return self

    @model_validator(mode="after")
    def _what_is_said_has_an_effect(self) -> Self:
        for name, why in self.without_effect().items():
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} {value!r} would have no effect: {why}; leave it out, or change that"
                )
        return self

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads the block.

        Raises:
            ValueError: If the class is a Flower strategy, which is named ``flwr:module:Class``.
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
        """Lets ``MyMethod.Parameters(mu=1)`` omit the name, which is that of its strategy."""
        if isinstance(values, dict) and "name" not in values and cls.server_half is not None:
            return {"name": registry.name_of("strategies", cls.server_half), **values}
        return values

    def without_effect(self) -> Mapping[str, str]:
        """Parameters that have no effect as the others are set, by name, each with the reason.

        They are refused where they are given, and `fedlab tune` draws none of them by itself.
        """
        return {}

    @property
    def client_trainer(self) -> str:
        """Registered name of the client trainer that goes with this strategy."""
        return self.client or self.name

    @property
    def clients_count(self) -> ClientsCount:
        """The clients' weights in the objective that the method minimises.

        ``examples`` and ``uniform`` as in `weighting`; ``alone`` where every client minimises its
        own loss; ``rule`` where the method computes the weights itself.
        """
        return self.weighting

    def trained_beside(self, model: nn.Module) -> int:
        """Number of parameters that a client trains in addition to the network's.

        Args:
            model: The network, adapted.
        """
        return 0

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """Names of the tensors that never leave a client, as in ``model.state_dict()``.

        Frozen tensors and buffers outside the state dict stay in any case and need no mention.

        Args:
            model: The network.
            policy: The method's rule for normalisation layers.
        """
        return local_names(model, policy)

    def client_model(self, server: Tensors, kept: Mapping[str, Tensors]) -> Tensors:
        """The tensors in which a client's tested model differs from the server's.

        Args:
            server: The server's tensors by all names of the network's state dict.
            kept: What the client kept; by default the tensors of ``model`` are put in place.
        """
        return dict(kept.get("model", {}))

    @property
    def tests_more_than_the_model(self) -> bool:
        """Whether a client's test needs more of the server's than its model.

        A file of that model, with what the client keeps, is then not what was tested.
        """
        return False

    def divide(
        self, model: nn.Module, policy: NormPolicy
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the tensors that travel, and of those that a client keeps from round to round.

        Both contain only tensors that training changes; every process has the others from the
        network itself.
        """
        anatomy = anatomy_of(model)
        local = {*anatomy.among(self.local_parameter_names(model, policy)), *anatomy.local}
        moving = anatomy.moving
        return tuple(n for n in moving if n not in local), tuple(n for n in moving if n in local)

    def adapt(self, model: nn.Module) -> nn.Module:
        """The network adapted to the method (FedWon removes its normalisation layers)."""
        return model

    def reassign(self, partition: Partition) -> Partition:
        """The partition that the method trains on; by default the scenario's."""
        return partition

    def most_examples(self, scenario: Experiment, train: int, phases: int, classes: int) -> int:
        """Upper bound of a client's ``num-examples``; a server refuses larger ones.

        Args:
            scenario: The experiment.
            train: Its training samples.
            phases: Number of phases of a local round that learn, each of which counts the samples
                it reads.
            classes: Number of classes.
        """
        return train * phases

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a scenario that the method cannot be used in.

        Raises:
            InputError: With the reason and the remedy.
        """

    def check_networks(self, models: Sequence[nn.Module]) -> None:
        """Refuses clients with different networks; only methods that send no model override it.

        Args:
            models: The networks, each of which `check` has accepted.

        Raises:
            InputError: By default always.
        """
        raise InputError(
            f"model.per_client: {self.name} sends models, which have to be of one network; name "
            "one, or use strategy.name=fedproto or local_only"
        )


P = TypeVar("P", bound=StrategyParameters, default=StrategyParameters)
"""Type variable of `Strategy` and `ClientTrainer`: the method's parameters."""
