"""The common ``strategy`` parameters of FixMatch and UDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import nn

from fedlab.strategies.families.requirements import refuse_if_all_is_labelled
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class SemiSupervisedParameters(StrategyParameters):
    """Parameters of a loss on unlabelled samples.

    Attributes:
        threshold: Smallest predicted probability with which a pseudo-label is used.
        weight: λ, the weight of the loss on unlabelled samples.
        ratio: μ, unlabelled samples that a step reads for each sample of ``training.batch_size``;
            as many as there are, where a client has fewer. FixMatch's usual value is 7.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # pseudo-labels are classes of a softmax
    threshold: float = Field(default=0.95, ge=0, le=1)
    weight: NonNegativeFloat = 1.0
    ratio: PositiveInt = 7

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that all have labels."""
        refuse_if_all_is_labelled(scenario)
