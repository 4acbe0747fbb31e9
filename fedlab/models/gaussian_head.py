"""A head that reads a sample of a Gaussian representation, drawn anew in every pass (FedSR)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from fedlab.models.captured import captured_inputs

LEAST_DEVIATION = 1e-6


class Gaussians(NamedTuple):
    """The representation of a batch, each of shape (batch, width).

    Attributes:
        mean: Means m.
        deviation: Standard deviations σ.
        drawn: One draw z of each sample.
    """

    mean: Tensor
    deviation: Tensor
    drawn: Tensor


class GaussianHead(nn.Module):
    """Takes the place of a head: Linear(z), z ~ N(m, diag σ²), m and σ from another dense layer.

    In evaluation mode the outputs are the logarithm of the mean probabilities over `draws` of z,
    with the same noise for every sample, so that a test has one result.

    Args:
        features: Number of features that the network gives.
        classes: Number of classes.
        width: Length of z.
        draws: Number of draws in evaluation mode.
    """

    def __init__(self, features: int, classes: int, width: int, draws: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(features, 2 * width)
        self.classifier = nn.Linear(width, classes)
        self.reference_mean = nn.Parameter(torch.zeros(classes, width))
        self.reference_scale = nn.Parameter(torch.ones(classes, width))
        self.factor = nn.Parameter(torch.ones(()))
        """These three describe every class's representation for a penalty; no pass reads them."""
        self.parts = nn.Identity()
        """Is given mean, deviation and draw in training, for `listen_to_gaussians`."""
        self.draws = draws

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (batch, features) to outputs of shape (batch, classes)."""
        mean, raw = self.encoder(features).chunk(2, dim=-1)
        deviation = softplus(raw).clamp(min=LEAST_DEVIATION)
        if self.training:
            drawn = mean + deviation * torch.randn_like(mean)
            self.parts(torch.stack([mean, deviation, drawn]))
            return self.classifier(drawn)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.draws, 1, mean.shape[-1], generator=generator).to(mean)
        outputs = self.classifier(mean + deviation * noise)
        return outputs.log_softmax(dim=-1).logsumexp(dim=0)


def find_gaussian_head(model: nn.Module) -> tuple[str, GaussianHead] | None:
    """A network's `GaussianHead` and its path, or None."""
    return next(((p, m) for p, m in model.named_modules() if isinstance(m, GaussianHead)), None)


def listen_to_gaussians(head: GaussianHead) -> AbstractContextManager[list[Gaussians]]:
    """Records the representation in every pass in training mode."""
    return captured_inputs(head.parts, lambda parts: Gaussians(*parts))


def divergence(
    given: Gaussians, reference_mean: Tensor, reference_scale: Tensor, factor: Tensor
) -> Tensor:
    """KL(N(C m, (Cσ)²) ‖ N(r, ρ²)) of each sample, summed over coordinates, shape (batch,).

    Args:
        given: The representation.
        reference_mean: r of each sample's class, shape (batch, width).
        reference_scale: ρ before the softplus, of the same shape.
        factor: C, a scalar.
    """
    spread = softplus(reference_scale).clamp(min=LEAST_DEVIATION)
    own = (factor.abs() * given.deviation).clamp(min=LEAST_DEVIATION)
    apart = own.square() + (factor * given.mean - reference_mean).square()
    return (spread.log() - own.log() + apart / (2 * spread.square()) - 0.5).sum(dim=-1)
