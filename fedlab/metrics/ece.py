"""Expected calibration error: differences between confidence and accuracy.

On Calibration of Modern Neural Networks, Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv 1706.04599,
equation 3.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt

from fedlab.metrics.base import Counts, Metric, chances, ratio


class ECE(Metric):
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b - confidence_b|; lower is better.

    Bins b are of equal width and closed on the right, (lo, hi]; confidence is the largest
    probability. Below some 1,000 samples it is biased upwards. The bins of each domain are kept in
    ``counts.csv``, from which the report draws a reliability diagram.

    Attributes:
        bins: How many there are; figures of different numbers of bins are not comparable.
    """

    name: str = "ece"
    called: ClassVar[str] = "ECE"
    higher_is_better: ClassVar[bool] = False
    counts_kept: ClassVar[bool] = True
    bins: PositiveInt = 15

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """Of each bin: samples, those that are right (int64), and the sum of confidences."""
        confidence, predicted = chances(outputs).max(dim=-1)
        # nan_to_num: outputs that are not finite have no confidence, and their sum would be NaN.
        places = (confidence.double().nan_to_num() * self.bins).ceil().long() - 1
        places = places.clamp(0, self.bins - 1)
        right = torch.bincount(places[predicted == labels], minlength=self.bins)
        nothing = torch.zeros(self.bins, dtype=torch.float64)
        return {
            "samples": torch.bincount(places, minlength=self.bins),
            "right": right,
            "confidence": nothing.index_add(0, places, confidence.double()),
        }

    def compute(self, counts: Counts) -> dict[str, float]:
        """The mean gap over samples."""
        gaps = (counts["right"].double() - counts["confidence"]).abs()
        return {self.title: ratio(float(gaps.sum()), float(counts["samples"].sum()))}
