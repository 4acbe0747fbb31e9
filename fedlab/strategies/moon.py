"""MOON, strategy: FedAvg of clients trained with a model-contrastive loss.

Model-Contrastive Federated Learning, Li, He, Song, CVPR 2021, arXiv 2103.16257; authors' code in
QinbinLi/MOON.

Up: the whole model. Down: the whole model. Stays: the client's model of its last round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import LogUniform, Range, Values
from fedlab.errors import InputError
from fedlab.models.head import find_head, why_no_head
from fedlab.models.surgery import replace_modules
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class MOONParameters(StrategyParameters):
    """MOON's parameters.

    Attributes:
        mu: Weight of the contrastive term; 0 is FedAvg. The paper chooses among 0.1, 1, 5 and 10.
        tau: Temperature of the contrastive term; 0.5 in the authors' code.
        projection: Width of the projection head, two dense layers put before the last one, whose
            outputs are compared; null compares what the last layer of the network as it is reads.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "mu": LogUniform(0.1, 10.0),
        "tau": Values((0.1, 0.5, 1.0)),
    }
    name: str = "moon"
    mu: NonNegativeFloat = 1.0
    tau: PositiveFloat = 0.5
    projection: PositiveInt | None = 256

    def adapt(self, model: nn.Module) -> nn.Module:
        """Inserts the projection head before the last dense layer, if there is one."""
        head = find_head(model)
        if self.projection is None or head is None:
            return model
        layer = head.layer
        projected = nn.Sequential(
            nn.Linear(layer.in_features, layer.in_features),
            nn.ReLU(),
            nn.Linear(layer.in_features, self.projection),
            nn.Linear(self.projection, layer.out_features, bias=layer.bias is not None),
        )
        return replace_modules(model, lambda module: projected if module is layer else module)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without representations to compare.

        Raises:
            InputError: If there is no dense layer, or nothing is learnt before the last one.
        """
        head = find_head(model)
        if head is None:
            raise InputError(
                f"strategy.name: moon compares what the last dense layer reads, and the model "
                f"'{scenario.model.name}' {why_no_head(model)}"
            )
        if all(name in head.names for name, _ in model.named_parameters()):
            raise InputError(
                f"strategy.name: moon compares what is learnt before the last dense layer, and "
                f"model '{scenario.model.name}' has nothing there; use strategy.projection=256, or "
                "a deeper model"
            )


class MOON(Strategy[MOONParameters]):
    """Averages as FedAvg does; the client trainer adds the contrastive term."""
