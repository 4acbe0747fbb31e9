"""The Gaussian mechanism on a mean of models.

Learning Differentially Private Recurrent Language Models, McMahan, Ramage, Talwar, Zhang, ICLR
2018, arXiv 1710.06963 (flat clipping, fixed denominator).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from fedlab.errors import RunError
from fedlab.privacy.noise import standard_normal
from fedlab.privacy.spec import PrivacySpec
from fedlab.records import Tensors


def private_mean(
    received: Tensors,
    models: Iterable[Tensors],
    cohort: int,
    spec: PrivacySpec,
    generator: torch.Generator | None,
) -> Tensors:
    """The model w + (Σ clip(w_k - w) + noise) / m, in float64, in the types of `received`.

    The denominator is that of the whole cohort, replies or not: a client that failed counts
    as one that changed nothing, so that the noise suffices in any case.

    Args:
        received: w, the model that went down, or the part of it that is shared.
        models: The models that came up, w_k, with the same names.
        cohort: m, the clients that were asked.
        spec: Clipping norm and noise multiplier.
        generator: Source of the noise; None is the operating system.

    Raises:
        RunError: If a client sent numbers that are not finite, which cannot be clipped.
    """
    before = {name: tensor.double() for name, tensor in received.items()}
    total = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for model in models:
        change = {name: model[name].double() - tensor for name, tensor in before.items()}
        factor = clipping_factor(change, spec.clipping_norm)
        for name, tensor in total.items():
            tensor.add_(change[name], alpha=factor)
    deviation = spec.noise_multiplier * spec.clipping_norm
    for name in sorted(total):  # a model has another order after it was on disk
        total[name].add_(standard_normal(total[name].shape, generator), alpha=deviation)
    return {
        name: (before[name] + total[name] / cohort).to(tensor.dtype)
        for name, tensor in received.items()
    }


def clipping_factor(change: Tensors, norm: float) -> float:
    """The factor that clips a change to a Euclidean norm of `norm` over all tensors; at most 1.

    Raises:
        RunError: If it has no finite norm.
    """
    squares = sum(float(tensor.square().sum()) for tensor in change.values())
    if not squares < float("inf"):
        raise RunError(
            "privacy: a client sent a model that is not finite, which cannot be clipped; "
            "lower training.optimizer.lr"
        )
    return min(1.0, norm / max(squares**0.5, 1e-300))
