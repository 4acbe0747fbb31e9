"""FRAug's two networks: a shared generator, and a transformation network of each client.

Layers and widths are those of the authors' code (HaokunChen245/FRAug).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import one_hot


class Generator(nn.Module):
    """Generates representations of given classes, not specific to a client, from noise.

    It has about 1.5 F² parameters for F features with noise of half that width: as much as 25
    million for AlexNet's 4096, and 0.4 million for the 512 of ResNet-18.

    Args:
        latent: Numbers of noise for one representation.
        classes: Number of classes.
        features: Width of a representation.
    """

    def __init__(self, latent: int, classes: int, features: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Linear(latent + classes, features),
            nn.BatchNorm1d(features),
            nn.ReLU(),
            nn.Linear(features, features),
            nn.BatchNorm1d(features),
            nn.ReLU(),
        )

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Noise of shape (n, latent), labels of shape (n,) -> (n, features)."""
        return self.layers(with_class(noise, labels, self.classes))


class RTNet(nn.Module):
    """The representation transformation network: generated representations to residuals.

    Args:
        latent: Width of its hidden layer.
        classes: Number of classes.
        features: Width of a representation.
    """

    def __init__(self, latent: int, classes: int, features: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Linear(features + classes, latent),
            nn.BatchNorm1d(latent),
            nn.ReLU(),
            nn.Linear(latent, features),
            nn.BatchNorm1d(features),
        )

    def forward(
        self, made: torch.Tensor, labels: torch.Tensor, anchors: torch.Tensor
    ) -> torch.Tensor:
        """The client's own representations that the residuals start from, moved by them.

        Args:
            made: What the generator made, shape (n, features).
            labels: Its classes, shape (n,).
            anchors: Representations of the client and of these classes, shape (n, features).
        """
        return anchors + self.layers(with_class(made, labels, self.classes))


def with_class(vectors: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Vectors of shape (n, width) with their class appended as `classes` zeros and ones."""
    return torch.cat([vectors, one_hot(labels, classes).to(vectors.dtype)], dim=1)
