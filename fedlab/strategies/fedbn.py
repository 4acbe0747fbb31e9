"""FedBN, strategy: averages everything but the normalisation layers.

FedBN: Federated Learning on Non-IID Features via Local Batch Normalization, Li, Jiang, Zhang,
Kamp, Dou, ICLR 2021, arXiv 2102.07623.

Up: all tensors but those of normalisation layers. Down: the same. Stays: normalisation layers
(scale, shift and running statistics).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from fedlab.models.norms import NormPolicy
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import refuse_if_nothing_stays
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedBNParameters(StrategyParameters):
    """FedBN's parameters.

    Attributes:
        weighting: Every client counts the same, as in the authors' code (med-air/FedBN); with
            clients of equal size there is no difference.
    """

    name: str = "fedbn"
    weighting: Literal["examples", "uniform"] = "uniform"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without normalisation layers."""
        refuse_if_nothing_stays(scenario, model, NormPolicy.LOCAL_ALL, "normalisation layers")


class FedBN(Strategy[FedBNParameters]):
    """The mean of the shared tensors; there is no global model to test by itself."""

    norm_policy = NormPolicy.LOCAL_ALL
