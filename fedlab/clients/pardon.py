"""PARDON, client trainer: the loss, a triplet term with painted images, and short features.

See `fedlab.strategies.pardon` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.functional import normalize, triplet_margin_loss

from fedlab.accelerator import exact
from fedlab.clients.base import Carry
from fedlab.clients.families.styles import LEAST_OF_MAPS, Painter, restyled
from fedlab.models.finch import cluster_labels
from fedlab.records import Tensors
from fedlab.strategies.pardon import PARDONParameters
from fedlab.training.task import Batch

EPS = 1e-5
"""Added to the variance of a style."""

NEAR = 1e-7
"""Added to differences of features, before their lengths are taken."""


class PARDON(Painter[PARDONParameters]):
    """Minimises the loss of the images and λ₁ (triplet) + λ₂ (mean square of features).

    An image's features are drawn to those of the same image in the style, and away from those of
    an image of another class in it, drawn at random from the batch.
    """

    def style_of(self, images: Tensor) -> Tensors:
        """The mean style of the client's clusters of images."""
        return style_of(images)

    def style_of_maps(self, parts: Iterator[Tensor]) -> Tensors:
        """The same of maps, all of which are clustered together."""
        return style_of(torch.cat(list(parts)))

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the terms added."""
        style, own, task = carry.extra.get("styles"), self.parameters, self.task
        if style is None:
            return super().objective(parameters, carry, batch)
        features, outputs = task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        inputs, within = batch.inputs, nullcontext()
        means, deviations = style["means"], style["deviations"]
        if self.reads_features:
            within = self.restyling(lambda maps: restyled(maps, means, deviations, LEAST_OF_MAPS))
        else:
            inputs = batch.inputs.lerp(restyled(batch.inputs, means, deviations), own.strength)
        with within:
            others, _ = task.features_and_outputs(parameters, carry.buffers, inputs)
        triplets = contrast(features, others, batch.labels, own.margin)
        squares = (features.square() + others.square()).mean()
        loss = self.loss(outputs, batch, carry)
        return loss + own.contrast * triplets + own.penalty * squares, outputs


def style_of(images: Tensor) -> Tensors:
    """``means`` and ``deviations`` of the channels, each cluster of images weighted equally.

    Clusters are those of the coarsest partition of the images, as FINCH finds it; a cluster counts
    by the mean and the mean square of its pixels.

    Args:
        images: Shape (n, channels, height, width).
    """
    pixels = exact(images).double()
    labels = cluster_labels(pixels.flatten(start_dim=1))
    clusters = [pixels[labels == label] for label in labels.unique()]
    means = torch.stack([each.mean(dim=(0, 2, 3)) for each in clusters]).mean(dim=0)
    squares = torch.stack([each.square().mean(dim=(0, 2, 3)) for each in clusters]).mean(dim=0)
    deviations = ((squares - means.square()).clamp(min=0) + EPS).sqrt()
    found = {"means": means, "deviations": deviations}
    return {name: value.float().to(images.device) for name, value in found.items()}


def contrast(features: Tensor, painted: Tensor, labels: Tensor, margin: float) -> Tensor:
    """The mean of max(0, ‖f - f'‖ - ‖f - f'₋‖ + margin), of features of length 1.

    Args:
        features: f, shape (batch, features).
        painted: f', of the same images in the style.
        labels: Classes, shape (batch,); f'₋ is one of the painted images of other classes. Images
            of a batch of one class do not count.
        margin: The margin.
    """
    other = (labels[:, None] != labels).float()
    some = other.any(dim=1)
    if not some.any():
        return features.new_zeros(())
    drawn = torch.multinomial(other[some].cpu(), 1).flatten().to(labels.device)
    anchor, positive = normalize(features, dim=1), normalize(painted, dim=1)
    return triplet_margin_loss(
        anchor[some], positive[some], positive[drawn], margin=margin, eps=NEAR
    )
