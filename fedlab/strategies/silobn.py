"""SiloBN, strategy: averages everything but running statistics.

Siloed Federated Learning for Multi-Centric Histopathology Datasets, Andreux, du Terrail, Beguier,
Tramel, DART workshop at MICCAI 2020, arXiv 2008.07424.

Up: all tensors but running statistics. Down: the same. Stays: running statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedlab.models.norms import NormPolicy
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import refuse_if_nothing_stays
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class SiloBNParameters(StrategyParameters):
    """SiloBN has no further parameters."""

    name: str = "silobn"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without running statistics."""
        refuse_if_nothing_stays(scenario, model, NormPolicy.SHARE_AFFINE, "running statistics")


class SiloBN(Strategy[SiloBNParameters]):
    """The mean of the shared tensors, scale and shift of normalisation layers included."""

    norm_policy = NormPolicy.SHARE_AFFINE
