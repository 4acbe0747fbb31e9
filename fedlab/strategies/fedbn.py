"""FedBN, server half: averages everything but the normalisation layers.

FedBN: Federated Learning on Non-IID Features via Local Batch Normalization, Li, Jiang, Zhang,
Kamp, Dou, ICLR 2021, arXiv 2102.07623.

Up: all tensors but those of normalisation layers. Down: the same. Stays: normalisation layers
(scale, shift and running statistics).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from fedlab.errors import InputError
from fedlab.models.norms import NormPolicy, local_names
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.scenario import Scenario


class FedBNParameters(StrategyParameters):
    """FedBN's parameters.

    Attributes:
        weighting: Every client counts the same, as in the authors' code (med-air/FedBN); with
            clients of equal size there is no difference.
    """

    name: str = "fedbn"
    weighting: Literal["examples", "uniform"] = "uniform"

    def check(self, scenario: Scenario, model: nn.Module) -> None:
        """Refuses a network without normalisation layers, for which FedBN is FedAvg."""
        if not local_names(model, NormPolicy.LOCAL_ALL):
            raise InputError(
                f"strategy.name: fedbn keeps normalisation layers local and the model "
                f"'{scenario.model.name}' with norm '{scenario.model.norm}' has none; "
                "use model.norm=batch, or strategy.name=fedavg"
            )


class FedBN(Strategy):
    """The mean of the shared tensors; there is no global model to test by itself."""

    Parameters = FedBNParameters
    norm_policy = NormPolicy.LOCAL_ALL
