"""Multi-label classification: each label of a sample holds or does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import NonNegativeInt, field_validator, model_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from fedlab.errors import InputError
from fedlab.targets.base import MULTI_LABEL, Target


class MultiLabel(Target):
    """Each sample has any of several labels; 0 or 1 for each, uint8 of shape (n, labels).

    Samples with the same set of labels are a stratum where that set is frequent. A sample of
    another set belongs to the stratum of its rarest label: those left over that have it and no
    rarer one; or to that of samples without any label.

    Attributes:
        sets: How many of the most frequent sets of labels are separate strata.
        frequent: These sets, each as text with a 0 or 1 for each label; by default those of the
            training samples.
        rarity: The labels by index, the rarest first; by default by the training samples.
    """

    name: Literal["multi_label"] = "multi_label"
    kind: ClassVar[str] = MULTI_LABEL
    nouns: ClassVar[tuple[str, str]] = ("label", "labels")
    strata_nouns: ClassVar[tuple[str, str]] = ("label set", "label sets")
    loss: ClassVar[str] = "bce"
    metrics: ClassVar[tuple[str, ...]] = ("label_f1", "average_precision", "loss")
    score: ClassVar[str] = "hamming_accuracy"
    output: ClassVar[tuple[str, str]] = (
        "logits",
        "logits; the sigmoid of each is the probability that its label holds",
    )
    sets: NonNegativeInt = 20
    frequent: tuple[str, ...] | None = None
    rarity: tuple[NonNegativeInt, ...] | None = None

    @field_validator("frequent")
    @classmethod
    def _sets_of_one_length(cls, sets: tuple[str, ...] | None) -> tuple[str, ...] | None:
        lengths = {len(each) for each in sets or ()}
        if len(lengths) > 1 or any(set(each) - {"0", "1"} for each in sets or ()):
            raise ValueError("a set is text with a 0 or a 1 for each label, such as '0110'")
        if sets and len(set(sets)) < len(sets):
            raise ValueError("has a set twice; name each once")
        return sets

    @model_validator(mode="after")
    def _orders_all_labels(self) -> MultiLabel:
        if self.rarity is not None and sorted(self.rarity) != list(range(len(self.rarity))):
            raise ValueError("rarity has to name each label once, by its index from 0")
        return self

    def check(self, labels: np.ndarray, samples: int, names: Sequence[str], where: str) -> None:
        """Checks that each label of each sample is 0 or 1."""
        if labels.shape != (samples, len(names)):
            raise InputError(
                f"{where} has {samples} inputs and {len(names)} label names but labels of shape "
                f"{labels.shape}; give a 0 or a 1 for each input and label"
            )
        if labels.dtype.kind not in "biuf":
            raise InputError(
                f"{where} has labels of type {labels.dtype}; with data.target 'multi_label' each "
                "has to be 0 or 1"
            )
        self.check_values(labels, names, where)

    def check_values(self, labels: np.ndarray, names: Sequence[str], where: str) -> None:
        """See `Target.check_values`."""
        odd = np.argwhere((labels != 0) & (labels != 1))
        if len(odd):
            row, column = odd[0]
            raise InputError(
                f"{where} has the label {labels[row, column]:g} ('{names[column]}' of sample "
                f"{row}); with data.target 'multi_label' each has to be 0 or 1 (a sample whose "
                "label is not known has to be left out)"
            )

    def cases(self, outputs: int) -> int:
        """Two cases for a single label, as it holds or not."""
        return max(outputs, 2)

    def stored(self, labels: np.ndarray) -> np.ndarray:
        """See `Target.stored`."""
        return labels.astype(np.uint8, copy=False)

    def kinds(self, labels: np.ndarray) -> np.ndarray:
        """The strata fitted to these samples alone."""
        alone = self.model_copy(update={"frequent": None, "rarity": None})
        return alone._fitted(labels).strata(labels)

    def fitted(self, labels: np.ndarray) -> Self:
        """With the most frequent sets of labels, and the labels ordered by frequency.

        Raises:
            InputError: If all samples have the same labels, or given sets are of other labels.
        """
        is_known = self.frequent is not None and self.rarity is not None  # on a device
        if not is_known and len(labels) and (labels == labels[0]).all():
            one = {0: "does not hold", 1: "holds"}.get(int(labels[0, 0]))
            every = (
                f"each label {one}" if len(set(labels[0].tolist())) == 1 else "each has one value"
            )
            raise InputError(
                f"data.sources: {every} in all training samples, and there is nothing to learn; "
                "check where the labels come from"
            )
        return self._fitted(labels)

    def _fitted(self, labels: np.ndarray) -> Self:
        """As `fitted`, of a part of the samples, too."""
        labels = labels > 0
        width = labels.shape[1]
        frequent, rarity = self.frequent, self.rarity
        if frequent is None:
            rows, numbers = np.unique(labels, axis=0, return_counts=True)
            most = np.argsort(-numbers, kind="stable")[: self.sets]
            frequent = tuple("".join(map(str, row)) for row in rows[most].astype(int).tolist())
        if rarity is None:
            rarity = tuple(np.argsort(labels.sum(axis=0, dtype=np.int64), kind="stable").tolist())
        for key, length in (("rarity", len(rarity)), ("frequent", len(next(iter(frequent), "")))):
            if length not in ({width} if key == "rarity" else {0, width}):
                raise InputError(
                    f"data.target.{key}: it is of {length} labels, and there are {width}; leave "
                    "it out, or name all of them"
                )
        return self.model_copy(update={"frequent": frequent, "rarity": rarity})

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """See `Target.strata` and the class."""
        assert self.frequent is not None
        assert self.rarity is not None
        own = {each: place for place, each in enumerate(self.frequent)}
        rows, places = np.unique((labels > 0).astype(np.uint8), axis=0, return_inverse=True)
        of_set = np.empty(len(rows), np.int64)
        for place, row in enumerate(rows):
            rarest = next((label for label in self.rarity if row[label]), labels.shape[1])
            of_set[place] = own.get("".join(map(str, row.tolist())), len(own) + rarest)
        return of_set[places.reshape(-1)]

    def strata_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """``a+b`` of a frequent set, ``other with a`` of the remaining ones."""
        assert self.frequent is not None
        sets = [
            "+".join(name for name, holds in zip(names, each, strict=True) if holds == "1")
            for each in self.frequent
        ]
        rest = [f"other with {name}" for name in names]
        return (*(each or "none" for each in sets), *rest, "other with none")

    def to_learn(self, labels: Tensor) -> Tensor:
        """Labels as float32."""
        return labels.to(torch.float32)

    def scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Share of each sample's labels that are right at a probability of 0.5."""
        return ((outputs > 0) == (labels > 0)).to(torch.float32).mean(dim=-1)

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over labels."""
        return binary_cross_entropy_with_logits(outputs, labels, reduction="none").mean(dim=-1)

    def counts(self, labels: Tensor, outputs: int) -> Tensor:
        """Samples with each label."""
        return labels.sum(dim=0).to(torch.int64).view(outputs)

    def example(self, samples: int, outputs: int) -> Tensor:
        """Every second label for the first sample, the other labels for the next."""
        return ((torch.arange(samples)[:, None] + torch.arange(outputs)) % 2).to(torch.uint8)

    def texts(self, labels: np.ndarray, names: Sequence[str]) -> list[str]:
        """``a+b``; ``none`` without a label."""
        return [
            "+".join(name for name, holds in zip(names, row, strict=True) if holds) or "none"
            for row in labels.tolist()
        ]
