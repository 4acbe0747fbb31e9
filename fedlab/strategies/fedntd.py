"""FedNTD, strategy: FedAvg of clients that distil the global model's not-true classes.

Preservation of the Global Knowledge by Not-True Distillation in Federated Learning, Lee, Jeong,
Shin, Bae, Yun, NeurIPS 2022, arXiv 2106.03097; authors' code in Lee-Gihun/FedNTD.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range, Values
from fedlab.errors import InputError
from fedlab.models.head import find_head
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedNTDParameters(StrategyParameters):
    """FedNTD's parameters.

    Attributes:
        beta: Weight of the distillation, 1 in the authors' code; 0 is FedAvg.
        tau: Temperature of both models' outputs, 1 in the authors' code.
    """

    targets: ClassVar[frozenset[str]] = (
        ONLY_CLASS  # what is distilled is a softmax without the class
    )
    space: ClassVar[Mapping[str, Range]] = {
        "beta": LogUniform(0.1, 10.0),
        "tau": Values((1.0, 2.0, 3.0, 5.0)),
    }
    name: str = "fedntd"
    beta: NonNegativeFloat = 1.0
    tau: PositiveFloat = 1.0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses fewer than three classes: one not-true class has no distribution to distil.

        Raises:
            InputError: If there are fewer than three classes.
        """
        head = find_head(model)
        if head is not None and head.layer.out_features < 3:
            raise InputError(
                "strategy.name: fedntd distils how classes other than the true one compare, and "
                f"the data have {head.layer.out_features} classes; use strategy.name=fedavg, or "
                "data with at least three"
            )


class FedNTD(Strategy[FedNTDParameters]):
    """Averages as FedAvg does; the client trainer adds the distillation."""
