"""A light transform of features, put between a frozen network's features and the head."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from fedlab.models.captured import captured_inputs
from fedlab.models.surgery import replace_modules


class FeatureTransform(nn.Module):
    """g(φ) = φ + a ⊙ MLP(φ), with a factor for each feature.

    The MLP has one hidden layer, with batch normalisation and ReLU, as in the authors' code of
    `fedlab.strategies.nmtune`.

    Args:
        features: Number D of features.
        width: Width of the hidden layer.
        start: First value of the factors.
        normalised: Whether the hidden layer has batch normalisation.
    """

    def __init__(self, features: int, width: int, start: float, normalised: bool) -> None:
        super().__init__()
        norm = [nn.BatchNorm1d(width)] if normalised else []
        self.layers = nn.Sequential(
            nn.Linear(features, width), *norm, nn.ReLU(), nn.Linear(width, features)
        )
        self.scale = nn.Parameter(torch.full((features,), start))

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, D) to features of the same shape."""
        return features + self.scale * self.layers(features)

    def listen(self) -> AbstractContextManager[list[Tensor]]:
        """Records φ of every forward pass within the context."""
        return captured_inputs(self, lambda features: features)


def with_transform(model: nn.Module, head: nn.Linear, transform: FeatureTransform) -> nn.Module:
    """Puts a transform before a network's head.

    Args:
        model: The network; changed in place unless it is the head.
        head: The layer that gives its outputs.
        transform: The transform.
    """
    new = nn.Sequential(transform, head)
    return replace_modules(model, lambda module: new if module is head else module)


def find_transform(model: nn.Module) -> FeatureTransform | None:
    """A network's `FeatureTransform`, or None."""
    return next((each for each in model.modules() if isinstance(each, FeatureTransform)), None)


def off_diagonal_covariance(features: Tensor) -> Tensor:
    """(1/D) Σ_{i≠j} Cov_ij², the covariance over n samples divided by n - 1; 0 for one sample.

    Args:
        features: Shape (n, D).
    """
    samples, width = features.shape
    centred = features - features.mean(dim=0)
    covariance = centred.mT @ centred / max(samples - 1, 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / width


def dominant_share(features: Tensor, largest: int) -> Tensor:
    """The mean of the largest singular values, each divided by the sum of all.

    Args:
        features: Shape (n, D), not centred.
        largest: How many; all where there are fewer.
    """
    values = torch.linalg.svdvals(features)
    return values[:largest].mean() / values.sum()
