"""A variational autoencoder of features: how the features of some samples are distributed.

Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models, ICLR 2024; widths and
weights as in the authors' code, which has features of size 256, layers of 128 and 32, and an
objective of the squared error, summed over features, and 0.025 times the Kullback-Leibler
divergence, both as means over a batch. Their decoder ends in a sigmoid; features are not bounded,
so that this one does not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fedlab import rng

LR = 1e-3
"""Learning rate of Adam."""

KL_WEIGHT = 0.025
"""Weight of the Kullback-Leibler divergence."""


class FeatureAutoencoder(nn.Module):
    """features -> features / 2 -> features / 8 -> mean and log variance, and back.

    Args:
        features: Size of the features.
        latent: Size of the mean.
    """

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        wide, narrow = max(features // 2, 1), max(features // 8, 1)
        self.encoder = nn.Sequential(
            nn.Linear(features, wide), nn.ReLU(), nn.Linear(wide, narrow), nn.ReLU()
        )
        self.mean, self.log_variance = nn.Linear(narrow, latent), nn.Linear(narrow, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, narrow),
            nn.ReLU(),
            nn.Linear(narrow, wide),
            nn.ReLU(),
            nn.Linear(wide, features),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The reconstruction of features, shape (n, features), from the mean of the code."""
        return self.decoder(self.mean(self.encoder(features)))

    def objective(self, features: Tensor, noise: Tensor) -> Tensor:
        """What training minimises, a scalar.

        Args:
            features: Shape (n, features).
            noise: Standard normal numbers of shape (n, latent).
        """
        hidden = self.encoder(features)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        made = self.decoder(mean + noise * (log_variance / 2).exp())
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        error = (made - features).square().sum()
        return (error + KL_WEIGHT * divergence) / len(features)


def fit(
    model: FeatureAutoencoder,
    features: Tensor,
    *,
    epochs: int,
    batch_size: int,
    generator: torch.Generator,
) -> None:
    """Passes of Adam over features, in place; its moments start anew.

    Args:
        model: The autoencoder.
        features: Shape (n, features).
        epochs: Passes.
        batch_size: Features per step.
        generator: Draws order and noise on the CPU.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    latent = model.mean.out_features
    for _ in range(epochs):
        for rows in torch.randperm(len(features), generator=generator).split(batch_size):
            noise = torch.randn(len(rows), latent, generator=generator)
            batch = features[rows.to(features.device)]
            optimizer.zero_grad()
            model.objective(batch, noise.to(features.device)).backward()
            optimizer.step()


def fit_together(
    model: FeatureAutoencoder,
    features: Mapping[int, Tensor],
    *,
    rounds: int,
    epochs: int,
    batch_size: int,
    seed: int,
) -> None:
    """Trains one autoencoder on the features of several clients by federated averaging, in place.

    Args:
        model: The autoencoder.
        features: Features by client, each of shape (n, features).
        rounds: Rounds.
        epochs: A client's passes in each.
        batch_size: Features per step.
        seed: Seed of order and noise.
    """
    sizes = [len(each) for each in features.values()]
    for number in range(rounds):
        own = []
        for client, each in features.items():
            one = copy.deepcopy(model)
            generator = rng.torch_generator(seed, "forget", "autoencoder", client, number)
            fit(one, each, epochs=epochs, batch_size=batch_size, generator=generator)
            own.append(one.state_dict())
        model.load_state_dict(_mean(own, sizes))


def _mean(states: Sequence[Mapping[str, Tensor]], sizes: Iterable[int]) -> dict[str, Tensor]:
    weights = torch.tensor([float(size) for size in sizes])
    weights /= weights.sum()
    return {
        name: sum(
            (weight * state[name] for weight, state in zip(weights.tolist(), states, strict=True)),
            torch.zeros_like(states[0][name]),
        )
        for name in states[0]
    }
