"""Means of features by class, and comparing features with several prototypes of each class.

A record of prototypes has ``classes``, int64 of shape (rows,), and ``features`` of shape (rows,
features); a class has any number of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedlab.models.head import Head
from fedlab.records import Tensors


def with_means(prototypes: Tensors, classes: int) -> Tensors:
    """A record with the mean of each class's prototypes.

    Args:
        prototypes: The record.
        classes: Number of classes.

    Returns:
        The record, ``means`` of shape (classes, features), and ``known`` of shape (classes,), 1 for
        classes with a prototype and 0 for others.
    """
    labels, features = prototypes["classes"], prototypes["features"]
    counts = features.new_zeros(classes).index_add_(0, labels, torch.ones_like(features[:, 0]))
    sums = features.new_zeros(classes, features.shape[1]).index_add_(0, labels, features)
    means = sums / counts.clamp(min=1)[:, None]
    return {**prototypes, "means": means, "known": (counts > 0).to(features.dtype)}


def cosines(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines between features and prototypes, shape (batch, rows)."""
    return normalize(features, dim=1) @ normalize(prototypes, dim=1).T


def contrast(scores: Tensor, own: Tensor) -> Tensor:
    """-log(Σ_own e^score / Σ e^score) of each sample; 0 where none of the scores is its own.

    Args:
        scores: Shape (batch, rows).
        own: Which of them belong to the sample's class, bool of shape (batch, rows).

    Returns:
        Shape (batch,).
    """
    counted = own | ~own.any(dim=1, keepdim=True)
    return scores.logsumexp(dim=1) - scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)


def members(labels: Tensor, classes: int, like: Tensor) -> Tensor:
    """One-hot classes of samples, shape (batch, classes)."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(like.dtype)


def no_features(classes: int, head: Head) -> Tensors:
    """Zero sums of features: ``features`` and ``counts``, a row for each class."""
    counts = head.layer.weight.new_zeros(classes)
    return {"features": counts.new_zeros(classes, head.features), "counts": counts}


def add_features(sums: Tensors, features: Tensor, labels: Tensor) -> None:
    """Adds a batch's features to the sums, in place."""
    belongs = members(labels, len(sums["counts"]), features)
    sums["features"] += belongs.T @ features
    sums["counts"] += belongs.sum(dim=0)


def class_means(sums: Tensors) -> Tensors:
    """The mean ``features`` of the ``classes`` with samples, and their ``counts``."""
    classes = sums["counts"].nonzero().flatten()
    counts = sums["counts"][classes]
    features = sums["features"][classes] / counts[:, None]
    return {"classes": classes, "counts": counts.long(), "features": features}
