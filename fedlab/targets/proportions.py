"""Classes of which the shares in bags of samples are known, and no sample's own.

The loss of a bag's mean prediction is the baseline DLLP of Havaldar et al., "Learning from Label
Proportions: Bootstrapping Supervised Learners via Belief Propagation", ICLR 2024, arXiv 2310.08056:
L = -Σ_c s_c log p̄_c for a bag with shares s and mean softmax p̄.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import log_softmax, pad

from fedlab.errors import InputError
from fedlab.targets.base import PROPORTIONS, Target
from fedlab.targets.classes import Classes


class Proportions(Classes):
    """What is trained on under ``partition.label_proportions``; tests are of `Classes`.

    A label is the shares of the classes in a sample's bag, float32 of shape (classes,). Batches
    have bag after bag, each of them whole; where samples are cut off, as a trial does, the last bag
    is of those that are left.

    Attributes:
        bag_size: Samples of a bag; None where all of a client are one.
    """

    name: Literal["proportions"] = "proportions"  # pyright: ignore[reportIncompatibleVariableOverride]
    kind: ClassVar[str] = PROPORTIONS
    score: ClassVar[str] = "proportion_overlap"
    bag_size: PositiveInt | None = None

    def check(self, labels: np.ndarray, samples: int, names: Sequence[str], where: str) -> None:
        """Refuses what a source yields: bags are made of a source's classes.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "data.target: 'proportions' is what partition.label_proportions makes of classes; "
            "leave data.target out, and set partition.label_proportions.bag_size=8"
        )

    @property
    def of_samples(self) -> Target:
        """Classes."""
        return Classes()

    def unit(self, samples: int) -> int:
        """The samples of a bag."""
        return samples if self.bag_size is None else self.bag_size

    def scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Σ_c min(s_c, p̄_c) of each sample's bag: 1 where the mean prediction has its shares."""
        size = self.unit(len(outputs))
        overlap = torch.minimum(mean_log_chances(outputs, size).exp(), labels[::size]).sum(dim=-1)
        return _each(overlap, size, len(outputs))

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample's bag."""
        size = self.unit(len(outputs))
        return _each(bag_losses(outputs, labels, size), size, len(outputs))

    def counts(self, labels: Tensor, outputs: int) -> Tensor:
        """Samples of each class in all bags together."""
        return labels.cpu().double().sum(dim=0).round().long().to(labels.device)


def mean_log_chances(outputs: Tensor, size: int) -> Tensor:
    """The logarithm of the mean softmax of each bag, shape (bags, classes).

    Args:
        outputs: Logits of bag after bag, shape (n, classes).
        size: Samples of a bag; the last one may have fewer.
    """
    samples, classes = outputs.shape
    bags = math.ceil(samples / size)
    chances = pad(log_softmax(outputs, dim=-1), (0, 0, 0, bags * size - samples), value=-math.inf)
    sizes = torch.full((bags, 1), float(size), dtype=outputs.dtype, device=outputs.device)
    sizes[-1] = samples - (bags - 1) * size
    return chances.view(bags, size, classes).logsumexp(dim=1) - sizes.log()


def bag_losses(outputs: Tensor, shares: Tensor, size: int) -> Tensor:
    """-Σ_c s_c log p̄_c of each bag, shape (bags,).

    Args:
        outputs: As for `mean_log_chances`.
        shares: Of each sample the shares in its bag, shape (n, classes).
        size: As for `mean_log_chances`.
    """
    return -(shares[::size] * mean_log_chances(outputs, size)).sum(dim=-1)


def _each(of_bags: Tensor, size: int, samples: int) -> Tensor:
    """A bag's value for each of its samples, shape (samples,)."""
    return of_bags.repeat_interleave(size)[:samples]
