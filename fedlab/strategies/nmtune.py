"""NMTune, strategy: a light transform of features whose extractor was pretrained on noisy labels.

Understanding and Mitigating the Label Noise in Pre-training on Downstream Tasks, Chen, Wang, Shah,
Tao, Wei, Xie, Sugiyama, Raj, ICLR 2024, arXiv 2309.17002. Authors' code:
Hhhhhhao/Noisy-Model-Learning. It goes in front of any `base` method whose clients minimise the
scenario's loss.

Up: what the base sends, with the transform. Down: what the base sends, likewise. Stays: what the
base keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.models.feature_transform import FeatureTransform, with_transform
from fedlab.models.head import find_head
from fedlab.strategies.families.in_front import InFront, InFrontParameters
from fedlab.strategies.families.requirements import gives_outputs, refuse_images

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class NMTuneParameters(InFrontParameters):
    """NMTune's parameters; those of rounds are the base's.

    The authors' code shows two views of each image to the extractor; features are computed once
    (`data.features`), so here a sample has one.

    Attributes:
        consistency: Weight of the mean squared difference of transformed and first features, each
            divided by its length; a mean over features, so that it is small.
        covariance: Weight of the squared covariances between different features.
        singular: Weight of the share of the largest singular values, which is to grow.
        largest: How many singular values.
        ratio: Width of the transform's hidden layer, in numbers of features.
        scale: First value of the factors on what the transform adds.
        normalised: Whether its hidden layer has batch normalisation, as in the authors' code.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "consistency": LogUniform(0.1, 10.0),
        "covariance": LogUniform(0.004, 0.4),
        "singular": LogUniform(0.0001, 0.01),
    }
    name: str = "nmtune"
    consistency: NonNegativeFloat = 1.0
    covariance: NonNegativeFloat = 0.04
    singular: NonNegativeFloat = 0.001
    largest: PositiveInt = 5
    ratio: PositiveInt = 4
    scale: float = 0.5
    normalised: bool = True

    def adapt(self, model: nn.Module) -> nn.Module:
        """Puts the transform before the head of the network adapted to the base."""
        adapted = super().adapt(model)
        head = find_head(adapted)
        if head is None or not gives_outputs(adapted):
            return adapted
        width = head.features
        transform = FeatureTransform(width, self.ratio * width, self.scale, self.normalised)
        return with_transform(adapted, head.layer, transform)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses images, and all that the base refuses.

        Raises:
            InputError: With the reason and the remedy.
        """
        refuse_images(scenario, model, "transforms features of a frozen network")
        super().check(scenario, model)


class NMTune(InFront):
    """The base: clients alone know of the transform's terms."""

    Parameters = NMTuneParameters
