"""F1 of multi-label predictions."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field

from fedlab.metrics.base import Counts, Metric, ratio
from fedlab.targets.base import MULTI_LABEL


class LabelCounts(Metric):
    """A metric that follows from the samples by label, and by whether it was predicted.

    Attributes:
        threshold: Probability above which a label is predicted.
    """

    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})
    threshold: float = Field(default=0.5, gt=0, lt=1)

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """``right`` (predicted and true), ``predicted`` and ``true``, int64 of shape (labels,)."""
        found = outputs > math.log(self.threshold / (1 - self.threshold))
        true = labels > 0
        return {
            "right": (found & true).sum(dim=0),
            "predicted": found.sum(dim=0),
            "true": true.sum(dim=0),
        }

    def scores(self, counts: Counts) -> torch.Tensor:
        """F1 of every label, float64; NaN for one that is neither true nor predicted anywhere."""
        sizes = (counts["predicted"] + counts["true"]).double()
        return 2 * counts["right"].double() / sizes


class LabelF1(LabelCounts):
    """F1: 2TP / (2TP + FP + FN) of each label, averaged over labels.

    Attributes:
        average: ``macro``, each label that holds or was predicted anywhere counting the same;
            ``weighted`` by the samples that have it; or ``micro``, from the sums over labels.
    """

    name: str = "label_f1"
    average: Literal["macro", "weighted", "micro"] = "macro"

    @property
    def words(self) -> str:
        """``macro F1``."""
        of = f" at {self.threshold:g}" if self.threshold != 0.5 else ""
        return f"{self.average} F1{of}"

    def compute(self, counts: Counts) -> dict[str, float]:
        """The average."""
        if self.average == "micro":
            sizes = float((counts["predicted"] + counts["true"]).sum())
            return {self.title: ratio(2 * float(counts["right"].sum()), sizes)}
        scores = self.scores(counts)
        used = ~scores.isnan()
        weights = counts["true"].double() if self.average == "weighted" else used.double()
        total = float((scores[used] * weights[used]).sum())
        return {self.title: ratio(total, float(weights[used].sum()))}


class EachLabelF1(LabelCounts):
    """F1 of each label: ``each_label_f1[0]``, ``each_label_f1[1]``, ...

    Of each domain and of all clients together; not defined for a label that is neither true nor
    predicted anywhere.
    """

    name: str = "each_label_f1"
    scalar: ClassVar[bool] = False
    of_clients: ClassVar[bool] = False

    def compute(self, counts: Counts) -> dict[str, float]:
        """A figure for each label, by its index."""
        values = self.scores(counts).tolist()
        return {f"{self.title}[{index}]": value for index, value in enumerate(values)}
