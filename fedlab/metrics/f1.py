"""F1, the harmonic mean of precision and recall."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedlab.metrics.base import Counts, ratio
from fedlab.metrics.confusion import ConfusionMetric


class F1(ConfusionMetric):
    """F1: 2TP / (2TP + FP + FN) of each class, one against the rest, averaged over classes.

    Attributes:
        average: ``macro``, each class that is a label or was predicted counting the same;
            ``weighted`` by its samples; or ``micro``, from the sums over classes, which is the
            accuracy where each sample has one label.
    """

    name: str = "f1"
    called: ClassVar[str] = "F1"
    average: Literal["macro", "weighted", "micro"] = "macro"

    def compute(self, counts: Counts) -> dict[str, float]:
        """The average."""
        matrix = counts["matrix"].double()
        right, support = matrix.diagonal(), matrix.sum(dim=1)
        sizes = support + matrix.sum(dim=0)  # 2TP + FP + FN
        if self.average == "micro":
            return {self.title: ratio(float(2 * right.sum()), float(sizes.sum()))}
        used = sizes > 0
        scores = 2 * right[used] / sizes[used]
        weights = support[used] if self.average == "weighted" else used[used].double()
        return {self.title: ratio(float((scores * weights).sum()), float(weights.sum()))}
