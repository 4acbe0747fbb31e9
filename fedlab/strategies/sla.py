"""SLA, strategy: clients learn from rotated and recoloured images which class and which view it is.

Self-supervised Label Augmentation via Input Transformations, Lee, Hwang, Shin, ICML 2020, arXiv
1910.05872. Authors' code: hankook/SLA. It goes in front of any `base` method whose clients minimise
the scenario's loss.

Up: what the base sends, with the outputs for pairs of class and view. Down: what the base sends,
likewise. Stays: what the base keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, model_validator
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.models.head import find_head
from fedlab.models.views import Prediction, Views, with_view_head
from fedlab.strategies.families.in_front import InFront, InFrontParameters
from fedlab.strategies.families.requirements import gives_outputs, refuse_other_losses
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class SLAParameters(InFrontParameters):
    """SLA's parameters; those of rounds are the base's.

    A step reads M = rotations × colours views of each image of its batch, and takes about M times
    as long. Views must not make one class look like another: a 6 that is turned is a 9.

    Attributes:
        rotations: 4 by quarter turns, 2 by half turns, or 1 for none.
        colours: Orders of the three channels: 6, 3 cyclic ones, or 1 for none.
        predict: What is tested and exported. ``distilled``: a plain head beside the outputs for
            pairs, trained on labels and on the mean prediction of all views. ``single``: the
            outputs for (class, view 0). ``aggregated``: the mean over views j of the outputs for
            (class, j) of view j, with M passes in a test.
        sum_of_views: Whether the loss of a sample's views is their sum, as the authors have it for
            many classes, or their mean.
        temperature: T of the distillation.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # pairs are of a class and a view
    space: ClassVar[Mapping[str, Range]] = {"rotations": Values((2, 4))}
    name: str = "sla"
    rotations: Literal[1, 2, 4] = 4
    colours: Literal[1, 3, 6] = 1
    predict: Prediction = "distilled"
    sum_of_views: bool = False
    temperature: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> SLAParameters:
        if len(self.views) == 1:
            raise ValueError(
                "rotations and colours are both 1, which leaves the base alone; set one of them, "
                "such as rotations=4"
            )
        if self.temperature != 1 and self.predict != "distilled":
            raise ValueError(
                f"temperature {self.temperature:g} is that of predict=distilled, and predict is "
                f"'{self.predict}'; leave it out"
            )
        return self

    @property
    def views(self) -> Views:
        """The views of an image."""
        return Views(self.rotations, self.colours)

    def adapt(self, model: nn.Module) -> nn.Module:
        """Puts outputs for pairs beside the head, in the network adapted to the base."""
        adapted = super().adapt(model)
        head = find_head(adapted)
        if head is None or not gives_outputs(adapted):
            return adapted
        return with_view_head(adapted, head.layer, self.views, self.predict)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses losses that this method would ignore, and all that the base refuses.

        Raises:
            InputError: With the reason and the remedy.
        """
        refuse_other_losses(scenario)
        super().check(scenario, model)


class SLA(InFront):
    """The base: clients alone know of views."""

    Parameters = SLAParameters
