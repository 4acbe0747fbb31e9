"""LLP-BP, strategy: any base method, whose clients make labels of label proportions themselves.

Learning from Label Proportions: Bootstrapping Supervised Learners via Belief Propagation, Havaldar,
Sharma, Sareen, Shanmugam, Raghuveer, ICLR 2024, arXiv 2310.08056. The paper is of one learner and
two classes; here every client finds labels for its own bags, and the network is that of all.

Up: what the base sends. Down: what the base sends. Stays: each sample's soft label, and what the
base keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.strategies.families.in_front import InFront, InFrontParameters
from fedlab.strategies.families.requirements import refuse_without_features
from fedlab.targets.base import PROPORTIONS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class LLPBPParameters(InFrontParameters):
    """LLP-BP's parameters; those of training are the base's.

    Defaults are those of the authors' code where it has them.

    Attributes:
        times: How often labels are found: at first from the samples themselves, then, in equal
            parts of the rounds, from the features that the received network gives of them.
        bag_weight: λ_b, how firmly the labels of a bag keep to its counts.
        neighbour_weight: λ_s, how firmly near samples have equal labels.
        neighbours: Nearest others that a sample is tied to; the code has 5, the sample itself
            among them.
        length: ℓ of the closeness e^{-‖x - x'‖/ℓ}; the code has 1, of which hardly anything is left
            between two images. ``median`` is that of neighbours' distances, of an even
            number the lower one.
        iterations: Rounds of messages.
        damping: Share of an old message in the new one.
        bag_term: Weight of the loss of bags beside that of the labels found.
    """

    targets: ClassVar[frozenset[str]] = frozenset({PROPORTIONS})
    space: ClassVar[Mapping[str, Range]] = {
        "bag_weight": Values((1.0, 10.0, 100.0)),
        "neighbour_weight": Values((1.0, 10.0, 100.0)),
        "bag_term": Values((0.0, 1.0, 10.0)),
    }
    name: str = "llp_bp"
    times: PositiveInt = 2
    bag_weight: PositiveFloat = 10.0
    neighbour_weight: PositiveFloat = 10.0
    neighbours: PositiveInt = 4
    length: PositiveFloat | Literal["median"] = "median"
    iterations: PositiveInt = 100
    damping: float = Field(default=0.5, ge=0, lt=1)
    bag_term: float = Field(default=1.0, ge=0)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses bags of whole clients, and what the base refuses.

        Raises:
            InputError: With the reason and the remedy.
        """
        if scenario.partition.label_proportions.fixed_size is None:
            raise InputError(
                "partition.label_proportions.bag_size: client makes one bag of all that a client "
                "has, and llp_bp sends messages between all pairs of a bag; give it a number, or "
                "use strategy.name=fedavg"
            )
        if scenario.training.remainder == "drop":
            raise InputError(
                "training.remainder: drop leaves bags out of a pass, and llp_bp finds the labels "
                "of all; use training.remainder=keep, or merge"
            )
        if self.times > scenario.rounds:
            raise InputError(
                f"strategy.times: labels cannot be found {self.times} times in {scenario.rounds} "
                f"rounds; use strategy.times={scenario.rounds}, or more rounds"
            )
        if self.times > 1:
            refuse_without_features(scenario, model)
        super().check(scenario, model)


class LLPBP(InFront):
    """The base."""

    Parameters = LLPBPParameters
