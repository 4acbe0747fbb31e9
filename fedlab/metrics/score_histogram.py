"""Histograms of scores, from which ranking metrics are computed without sending scores."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator

from fedlab.errors import InputError
from fedlab.metrics.base import Counts, Metric
from fedlab.targets.base import CLASS, MULTI_LABEL

WIDEST = 16.0
"""Log-odds beyond which scores share a bin: probabilities of 1e-7."""


BINS = 1000
"""Bins where a scenario names no number."""

FLOAT16 = 2**16
"""Numbers of float16, those that are none among them."""


class Histogram(NamedTuple):
    """Samples by bin of the score of one class, from the lowest score to the highest.

    Attributes:
        positive: Samples of the class, float64 of shape (bins,).
        negative: All others.
    """

    positive: torch.Tensor
    negative: torch.Tensor


class RankingMetric(Metric):
    """A metric of how scores rank samples: each class against the rest, averaged over classes.

    Where labels are learnt it is of each label, by the sigmoid of its output. With two classes it
    is that of class 1. With more, classes count the same, and those without
    samples, or without others, are left out; where none is left the figure is not defined. Scores
    are probabilities by softmax. Clients send histograms of them, and samples within a bin count
    as tied; ``<title>_error`` is how far the figure can be from that of the scores themselves.

    Attributes:
        bins: Bins of a histogram.
        scale: Whether bins have equal widths in log-odds, between ±16, or in ``probability``; or
            are the numbers of ``float16``, to which log-odds are rounded: the figure is then
            exactly that of the rounded scores of all clients together. It takes 1 MB of counts for
            each class and client.
    """

    targets: ClassVar[frozenset[str]] = frozenset({CLASS, MULTI_LABEL})
    bins: int = Field(default=BINS, ge=2, le=100_000)
    scale: Literal["log_odds", "probability", "float16"] = "log_odds"

    @model_validator(mode="after")
    def _one_bin_for_each_number(self) -> Self:
        if self.scale == "float16" and self.bins != BINS:
            raise ValueError(
                f"bins {self.bins} does not go with scale float16, whose bins are its numbers; "
                "leave bins out, or use scale log_odds"
            )
        return self

    @property
    def _size(self) -> int:
        """Bins of a histogram."""
        return FLOAT16 if self.scale == "float16" else self.bins

    def check(self, classes: int) -> None:
        """Refuses a task with one class, where there is no ranking."""
        if classes < 2:
            raise InputError(
                f"evaluation.metrics: {self.name} ranks samples of one class above those of "
                "others, and there is only one class; leave it out"
            )

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """Two histograms for each scored class, and how many samples have no finite outputs.

        Returns:
            ``positive`` and ``negative``, int64 of shape (scored classes, bins); ``lost``.
        """
        classes = outputs.shape[-1]
        if labels.dim() == 2:
            scored, positive = torch.arange(classes), labels > 0
        else:
            scored = torch.tensor([1]) if classes == 2 else torch.arange(classes)
            positive = labels[:, None] == scored
        places = self._places(outputs.double().nan_to_num(), labels.dim() == 2)[:, scored]
        cells = torch.arange(len(scored)) * self._size + places

        def histogram(chosen: torch.Tensor) -> torch.Tensor:
            counted = torch.bincount(cells[chosen], minlength=len(scored) * self._size)
            return counted.view(len(scored), self._size)

        return {
            "positive": histogram(positive),
            "negative": histogram(~positive),
            "lost": (~outputs.isfinite().all(dim=-1)).sum(),
        }

    def _places(self, outputs: torch.Tensor, independent: bool) -> torch.Tensor:
        """The bins of each sample's scores, int64 of shape (n, classes).

        Args:
            outputs: Logits of shape (n, classes).
            independent: Whether each is the log-odds of a label, and no softmax goes over them.
        """
        if self.scale == "probability":
            among = outputs.sigmoid() if independent else outputs.log_softmax(dim=-1).exp()
        else:
            log_odds = outputs if independent else _log_odds(outputs)
            if self.scale == "float16":
                return order_of(log_odds.half())
            among = (log_odds + WIDEST) / (2 * WIDEST)
        return (among * self.bins).floor().clamp(0, self.bins - 1).long()

    def compute(self, counts: Counts) -> dict[str, float]:
        """The mean over classes, and the mean of their errors."""
        values, errors = [], []
        for positive, negative in zip(counts["positive"], counts["negative"], strict=True):
            histogram = Histogram(positive.double(), negative.double())
            if positive.sum() and negative.sum() and not counts["lost"]:
                value, error = self.of_class(histogram)
                values.append(value)
                errors.append(error)
        return {
            self.title: sum(values) / len(values) if values else math.nan,
            f"{self.title}_error": sum(errors) / len(errors) if errors else math.nan,
        }

    @abstractmethod
    def of_class(self, histogram: Histogram) -> tuple[float, float]:
        """The figure of one class against the rest, and how far it can be from the exact one.

        Args:
            histogram: With at least one sample on either side.
        """


def _log_odds(outputs: torch.Tensor) -> torch.Tensor:
    """Of each class against all others, by logits of shape (n, classes).

    z_c - log Σ_(j≠c) exp z_j. Of the largest logit that is taken over the others alone, since its
    probability rounds to 1 where it leads by more than 36.
    """
    log_chance = outputs.log_softmax(dim=-1)
    log_odds = log_chance - torch.log(-torch.expm1(log_chance))
    top, place = outputs.max(dim=-1, keepdim=True)
    others = outputs.scatter(-1, place, -math.inf).logsumexp(dim=-1, keepdim=True)
    return log_odds.scatter(-1, place, top - others)


def order_of(values: torch.Tensor) -> torch.Tensor:
    """The place of each float16 number among all of them, int64 from 0 to 65,535.

    Patterns of positive numbers ascend as integers do, and those of negative ones descend.
    """
    patterns = (values + 0.0).view(torch.int16).long()  # adding makes -0 and 0 the same
    return torch.where(patterns < 0, -patterns - 1, patterns + FLOAT16 // 2)
