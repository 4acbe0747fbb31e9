"""PARDON, strategy: clients learn from their images in one style, the median of all clients'.

PARDON: Privacy-Aware and Robust Federated Domain Generalization, Nguyen et al., ICDCS 2025, arXiv
2410.22622 (FISC in its authors' code, judydnguyen/PARDON-FedDG). Styles there are statistics of a
frozen VGG-19, and a decoder paints images anew; here both networks are the identity, so that a
style is that of colours and contrast, and nothing has to be downloaded. All else follows that code.

With ``styles: features`` they are statistics of what the first stage of the task's own network
gives, and its maps are restyled there in training, without a decoder.

Up, once: a mean and a standard deviation of each channel. Down, once: one style for all. Every
round: the whole model, up and down. Stays: the style.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range, Values
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.finch import cluster_labels, cluster_means
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import refuse_without_features
from fedlab.strategies.families.styles import SharedStyles, StylesParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class PARDONParameters(StylesParameters):
    """PARDON's parameters.

    A step reads each image as it is and painted, and all terms use these features; the authors'
    code reads images anew for the triplet term, in batches of other images.

    Attributes:
        styles: ``pixels`` are statistics of the images' channels; ``features`` of the maps of the
            network's first stage, measured once, before the first round, in evaluation mode with
            the model that came down (pretrained weights, where it has them). A client clusters
            the maps of all its images at once, which have to fit into its memory. The second pass
            of a step then restyles maps instead of images; gradients flow through their means and
            deviations. With batch normalisation, use pretrained weights: running statistics of an
            untrained network are 0 and 1, and styles are on another scale.
        strength: a: 1 paints images in the style, 0 leaves them as they are.
        noise: Standard deviation of Gaussian noise on what is sent, in units of normalised inputs
            or of features; it follows from the run's seed, and is not differential privacy.
        contrast: Weight of the triplet term.
        margin: Its margin, between features of length 1.
        penalty: Weight of the mean square of features; 0.2 for PACS and 0.1 for Office-Home in the
            authors' code.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # negatives are of other classes
    space: ClassVar[Mapping[str, Range]] = {
        "strength": Values((0.25, 0.5, 1.0)),
        "contrast": LogUniform(0.075, 7.5),
        "penalty": LogUniform(0.02, 2.0),
    }
    name: str = "pardon"
    strength: float = Field(default=0.5, ge=0, le=1)
    contrast: NonNegativeFloat = 0.75
    margin: NonNegativeFloat = 0.3
    penalty: NonNegativeFloat = 0.2

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that are not images, and networks without features.

        Raises:
            InputError: With the remedy.
        """
        super().check(scenario, model)
        refuse_without_features(scenario, model)


class PARDON(SharedStyles[PARDONParameters]):
    """Distributes the median of the clusters of clients' styles."""

    def made_of(self, bank: Tensors, answers: list[ClientUpdate]) -> Tensors:
        """The median, number by number, of the means of the first partition's clusters (FINCH).

        Of an even number of clusters, the mean of the two in the middle; the authors' code takes
        the smaller one.
        """
        styles = torch.cat([bank["means"], bank["deviations"]], dim=1).double()
        centres = cluster_means(styles, cluster_labels(styles, "first"))
        means, deviations = centres.quantile(0.5, dim=0).float().chunk(2)
        return {"means": means, "deviations": deviations}
