"""FixBN, strategy: FedAvg whose running statistics are fixed after a share of the rounds.

Making Batch Normalization Great in Federated Deep Learning, Zhong, Chen, Chao, 2023,
arXiv 2303.06530.

Up: the whole model. Down: the whole model. Stays: nothing, or the momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import nn

from fedlab.config.ranges import Range, Uniform
from fedlab.errors import InputError
from fedlab.models.norms import has_batch_norm
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FixBNParameters(StrategyParameters):
    """FixBN's parameters.

    Attributes:
        share: Share of the rounds that normalise by the batch, as FedAvg does. The others
            normalise by the averaged running statistics, which then stay as they are. Half of them
            is what is reported of the paper, whose text we have not seen.
        keep_momentum: Whether clients go on with the momentum of their last round; without it, each
            round starts from none.
    """

    space: ClassVar[Mapping[str, Range]] = {"share": Uniform(0.2, 0.8)}
    name: str = "fixbn"
    share: float = Field(default=0.5, gt=0, lt=1)
    keep_momentum: bool = False

    def fixed(self, server_round: int, rounds: int) -> bool:
        """Whether a round (from 1) of so many normalises by fixed statistics."""
        return server_round > self.share * rounds

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without batch normalisation, and runs that never learn statistics.

        Raises:
            InputError: With the reason and the remedy.
        """
        if not has_batch_norm(model):
            raise InputError(
                f"strategy.name: fixbn fixes running statistics and the model "
                f"'{scenario.model.name}' with norm '{scenario.model.norm}' has none; use a model "
                "with batch normalisation and model.norm=batch, or strategy.name=fedavg"
            )
        if self.fixed(1, scenario.rounds):
            raise InputError(
                f"strategy.share: {self.share:g} of {scenario.rounds} rounds is less than one, and "
                "statistics would be fixed before they are learnt; raise rounds or strategy.share"
            )
        optimizer = scenario.training.optimizer
        if self.keep_momentum and not (optimizer.name == "sgd" and optimizer.momentum):
            raise InputError(
                "strategy.keep_momentum: clients have no momentum that they could keep; set "
                "training.optimizer.name=sgd and training.optimizer.momentum=0.9, or leave it out"
            )


class FixBN(Strategy[FixBNParameters]):
    """Averages as FedAvg does; clients switch to fixed statistics by the round number."""
