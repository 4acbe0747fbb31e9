"""One class of several for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.errors import InputError
from fedlab.targets.base import CLASS, Target


class Classes(Target):
    """Each sample is of one class; labels are class indices, int64 of shape (n,)."""

    name: Literal["class"] = "class"
    kind: ClassVar[str] = CLASS
    nouns: ClassVar[tuple[str, str]] = ("class", "classes")
    strata_nouns: ClassVar[tuple[str, str]] = ("class", "classes")
    loss: ClassVar[str] = "cross_entropy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    score: ClassVar[str] = "accuracy"
    output: ClassVar[tuple[str, str]] = (
        "logits",
        "logits; their softmax is the probability of each class",
    )

    def check(self, labels: np.ndarray, samples: int, names: Sequence[str], where: str) -> None:
        """Checks that labels are integers from 0 on and below the number of classes."""
        if labels.shape != (samples,) or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(
                f"{where} has {samples} inputs but labels of shape {labels.shape} and type "
                f"{labels.dtype}; give one integer per input"
            )
        classes = len(names)
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"{where} has labels from {labels.min()} to {labels.max()} but {classes} class "
                f"names; labels must lie in 0 to {classes - 1}"
            )

    def check_names(self, names: Sequence[str]) -> None:
        """Refuses a single class; a device alone may have one."""
        if len(names) == 1:
            raise InputError(
                f"data.sources: all samples have the label '{names[0]}', and there is nothing to "
                "learn; check where the labels come from"
            )

    def stored(self, labels: np.ndarray) -> np.ndarray:
        """See `Target.stored`."""
        return labels.astype(np.int64, copy=False)

    def kinds(self, labels: np.ndarray) -> np.ndarray:
        """The classes."""
        return labels

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The classes."""
        return labels

    def strata_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(names)

    def scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Whether each sample is right."""
        return outputs.argmax(dim=-1) == labels

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs, labels, reduction="none")

    def counts(self, labels: Tensor, outputs: int) -> Tensor:
        """Samples of each class."""
        return torch.bincount(labels, minlength=outputs)

    def example(self, samples: int, outputs: int) -> Tensor:
        """Labels 0, 1, 2, ..., repeated."""
        return torch.arange(samples) % max(outputs, 1)

    def texts(self, labels: np.ndarray, names: Sequence[str]) -> list[str]:
        """Names of the classes."""
        indices: list[int] = labels.tolist()
        return [names[index] for index in indices]
