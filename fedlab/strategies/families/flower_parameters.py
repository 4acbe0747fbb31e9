"""Names of Flower's strategies in scenarios, and the arguments of their constructors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import flwr.serverapp.strategy as flower_strategies
from pydantic import ConfigDict, model_validator
from torch import nn

from fedlab.config import registry
from fedlab.errors import InputError
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

PREFIX = "flwr:"
UNWEIGHTED = (
    flower_strategies.FedMedian,
    flower_strategies.FedTrimmedAvg,
    flower_strategies.Krum,
    flower_strategies.MultiKrum,
    flower_strategies.Bulyan,
)
"""Flower's strategies for which all clients count the same."""
SET_BY_FEDLAB = (
    "self",
    "train_loss_key",
    "fraction_train",
    "fraction_evaluate",
    "min_train_nodes",
    "min_evaluate_nodes",
    "min_available_nodes",
    "weighted_by_key",
    "arrayrecord_key",
    "configrecord_key",
    "train_metrics_aggr_fn",
    "evaluate_metrics_aggr_fn",
)


def available() -> list[str]:
    """Names of the Flower strategies that can be used, with the prefix ``flwr:``."""
    return [
        PREFIX + name
        for name in flower_strategies.__all__
        if issubclass(getattr(flower_strategies, name), flower_strategies.FedAvg)
        and "Xgb" not in name  # they average trees, not tensors
    ]


def constructor_of(name: str) -> type[flower_strategies.FedAvg]:
    """The class that a name with the prefix ``flwr:`` stands for.

    Raises:
        InputError: If fedlab cannot run a strategy of that name.
    """
    own = name.removeprefix(PREFIX)
    if ":" in own:
        found = registry.resolve("strategies", own)
        if isinstance(found, type) and issubclass(found, flower_strategies.FedAvg):
            return found
        raise InputError(
            f"'{own}' is no subclass of flwr.serverapp.strategy.FedAvg, which fedlab could run as "
            "a strategy of Flower's"
        )
    if name not in available():
        raise InputError(
            f"Flower has no strategy '{name}' that fedlab can run; "
            f"choose from {', '.join(available())}"
        )
    return getattr(flower_strategies, own)


def constructor_arguments(name: str) -> dict[str, tuple[Any, Any]]:
    """A Flower strategy's arguments as (type, default); ``...`` where there is no default.

    Raises:
        InputError: If fedlab cannot run a strategy of that name.
    """
    signature = inspect.signature(constructor_of(name).__init__, eval_str=True)
    return {
        key: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default)
        for key, p in signature.parameters.items()
        if key not in SET_BY_FEDLAB and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


class FlowerParameters(StrategyParameters):
    """The arguments of the named strategy's constructor that no other scenario key sets."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def client_trainer(self) -> str:
        """Flower's FedProx goes with our FedProx clients, everything else with plain training."""
        return self.client or ("fedprox" if self.name == "flwr:FedProx" else "fedavg")

    @property
    def clients_count(self) -> ClientsCount:
        """``examples``, except for robust and custom strategies, and QFedAvg."""
        if issubclass(self.constructor, flower_strategies.QFedAvg):
            return "rule"
        if issubclass(self.constructor, UNWEIGHTED):
            return "uniform"
        own = self.constructor.__module__.partition(".")[0] != "flwr"
        return "rule" if own and "aggregate_train" in vars(self.constructor) else "examples"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a weighting that the strategy would ignore.

        Raises:
            InputError: With the remedy.
        """
        if self.weighting == "uniform" and self.clients_count == "examples":
            raise InputError(
                f"strategy.weighting: '{self.name}' counts clients by their examples, and has no "
                "other way; leave strategy.weighting out, or choose a strategy of fedlab's own "
                "(`fedlab list strategies`)"
            )

    @property
    def constructor(self) -> type[flower_strategies.FedAvg]:
        """The named class."""
        return constructor_of(self.name)

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments that the scenario gives."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _constructor_takes_them(self) -> FlowerParameters:
        try:
            takes = constructor_arguments(self.name)
        except InputError as error:
            raise ValueError(str(error)) from error
        for key in self.arguments:
            if key not in takes:
                raise ValueError(f"'{self.name}' takes no '{key}'; it takes {', '.join(takes)}")
        missing = [k for k, (_, d) in takes.items() if d is ... and k not in self.arguments]
        if missing:
            raise ValueError(f"'{self.name}' needs {', '.join(missing)}")
        return self
