"""How unsure predictions are, as FRAug's authors measure it (HaokunChen245/FRAug)."""

from __future__ import annotations

import torch

from fedlab.models.fraug_networks import one_hot

LEAST = 1e-12
"""Added to probabilities whose logarithms are taken, as in the authors' code."""

SMOOTHING = 0.1
"""Share of a label that the non-saturating criterion deals to all classes alike."""


def negative_entropy(outputs: torch.Tensor) -> torch.Tensor:
    """Minus the mean entropy in nats of the predictions that logits (n, classes) stand for.

    Logarithms are constants to gradients: their share of it, Σ p dlog(p) = Σ dp, is zero.
    """
    logarithms = outputs.detach().log_softmax(dim=1) / len(outputs)
    return outputs.softmax(dim=1).flatten().dot(logarithms.flatten())


def non_saturating(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-Σ_c t_c log(1 - p_c), averaged over a batch; t is the smoothed label.

    Args:
        outputs: Logits of p, shape (n, classes).
        labels: Shape (n,).
    """
    classes = outputs.shape[1]
    wanted = one_hot(labels, classes, outputs) * (1 - SMOOTHING) + SMOOTHING / classes
    others = (1 - outputs.softmax(dim=1) + LEAST).log()
    return -(wanted * others).sum(dim=1).mean()
