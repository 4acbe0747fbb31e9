"""CCST, strategy: clients train on images in the styles of other clients.

Federated Domain Generalization for Image Recognition via Cross-Client Style Transfer, Chen, Jiang,
Dou, Chen, WACV 2023, arXiv 2210.00912. Authors' code: JeremyCJM/CCST. Styles there are statistics
of a frozen VGG-19, and a decoder paints images anew; here both networks are the identity, so that a
style is that of colours and contrast, and nothing has to be downloaded.

With ``styles: features`` they are statistics of what the first stage of the task's own network
gives, and its maps are restyled there in training, without a decoder. The encoder is the network as
it is first received; it learns, and styles stay as they were measured.

Up, once: a mean and a standard deviation of each channel. Down, once: those of all clients. Every
round: the whole model, up and down. Stays: the styles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fedlab.config.ranges import Range, Values
from fedlab.strategies.families.styles import SharedStyles, StylesParameters


class CCSTParameters(StylesParameters):
    """CCST's parameters.

    A client has one style, over all pixels of all its images ("overall" in the paper). Every time
    an image is read, one client's style is drawn for it; with the client's own it stays as it is.
    The paper paints each image in K styles before training.

    Attributes:
        styles: ``pixels`` are statistics of the images' channels; ``features`` of the maps of the
            network's first stage, measured once, before the first round, in evaluation mode with
            the model that came down (pretrained weights, where it has them). Maps are then
            restyled in training, within the network, instead of images; gradients flow through
            their means and deviations. With batch normalisation, use pretrained weights: running
            statistics of an untrained network are 0 and 1, and styles are on another scale.
        strength: a: 1 paints images in the drawn style, 0 leaves them as they are.
        noise: Standard deviation of Gaussian noise on what is sent, in units of normalised inputs
            or of features; it follows from the run's seed, and is not differential privacy.
    """

    space: ClassVar[Mapping[str, Range]] = {"strength": Values((0.25, 0.5, 1.0))}
    name: str = "ccst"


class CCST(SharedStyles[CCSTParameters]):
    """Distributes the styles of all clients."""
