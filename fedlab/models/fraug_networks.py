"""FRAug's two networks: a shared generator, and a transformation network of each client.

Layers and widths are those of the authors' code (HaokunChen245/FRAug).
"""

from __future__ import annotations

import torch
from torch import nn

from fedlab.constants import identity


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
        self.layers = nn.Sequential(
            nn.Linear(latent + classes, features),
            nn.BatchNorm1d(features),
            nn.ReLU(),
            nn.Linear(features, features),
            nn.BatchNorm1d(features),
            nn.ReLU(),
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Noise beside classes as of `one_hot`, shape (n, latent + classes) -> (n, features)."""
        return self.layers(rows)


class RTNet(nn.Module):
    """The representation transformation network: generated representations to residuals.

    Args:
        latent: Width of its hidden layer.
        classes: Number of classes.
        features: Width of a representation.
    """

    def __init__(self, latent: int, classes: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features + classes, latent),
            nn.BatchNorm1d(latent),
            nn.ReLU(),
            nn.Linear(latent, features),
            nn.BatchNorm1d(features),
        )

    def forward(
        self, made: torch.Tensor, kinds: torch.Tensor, *, halves: bool = False
    ) -> torch.Tensor:
        """The residuals, shape (n, features).

        Args:
            made: What the generator made, shape (n, features).
            kinds: Its classes, as of `one_hot`.
            halves: Whether the first half of the rows and the second are each normalised by
                themselves.
        """
        rows = torch.cat([made, kinds], dim=1)
        for layer in self.layers:
            apart = halves and isinstance(layer, nn.BatchNorm1d)
            rows = torch.cat([layer(half) for half in rows.chunk(2)]) if apart else layer(rows)
        return rows


def one_hot(labels: torch.Tensor, classes: int, like: torch.Tensor) -> torch.Tensor:
    """Classes of shape (n,) as zeros and ones of the dtype of `like`, shape (n, classes)."""
    return identity(classes, like.dtype, like.device)[labels]


def uncounted(network: nn.Module) -> list[str]:
    """Takes the counters of batches out of a network's layers, which normalise as before.

    Returns:
        Their names.
    """
    names: list[str] = []
    for path, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.num_batches_tracked = None
            names.append(f"{path}.num_batches_tracked")
    return names
