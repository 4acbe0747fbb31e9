"""PARDON's loss of a batch, written out for the tests that hold a client's step against it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from fedlab import rng

SETTINGS = {"strength": 0.25, "contrast": 0.6, "penalty": 0.4, "margin": 0.7}


def pardon_loss(
    outputs: Tensor, features: Tensor, painted: Tensor, labels: Tensor, seed: int
) -> Tensor:
    """The loss of client 1 in round 1.

    Args:
        outputs: Logits of the batch as it is.
        features: Its features, a row an image.
        painted: Those of the batch in the common style.
        labels: Its classes.
        seed: The scenario's, of which the negatives are drawn.
    """
    with rng.seeded(seed, "dropout", 1, 1):
        chosen = torch.multinomial((labels[:, None] != labels).float(), 1).flatten()
    assert (labels[chosen] != labels).all()
    anchor, same = normalize(features, dim=1), normalize(painted, dim=1)
    towards, away = (anchor - same + 1e-7).norm(dim=1), (anchor - same[chosen] + 1e-7).norm(dim=1)
    triplets = (towards - away + SETTINGS["margin"]).clamp(min=0).mean()
    squares = (features**2 + painted**2).mean()
    classes = cross_entropy(outputs, labels)
    return classes + SETTINGS["contrast"] * triplets + SETTINGS["penalty"] * squares
