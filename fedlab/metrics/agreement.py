"""Agreement of labels and predictions beyond chance: kappa and Matthews' coefficient.

Kappa: A coefficient of agreement for nominal scales, Cohen, Educational and Psychological
Measurement 20, 1960. MCC: Comparing two K-category assignments by a K-category correlation
coefficient, Gorodkin, Computational Biology and Chemistry 28, 2004.
"""

from __future__ import annotations

import math
from typing import ClassVar

from fedlab.metrics.base import Counts, ratio
from fedlab.metrics.confusion import ConfusionMetric


class Kappa(ConfusionMetric):
    """Cohen's kappa (p_o - p_e) / (1 - p_e); not defined where all is of one class."""

    name: str = "kappa"
    share: ClassVar[bool] = False

    def compute(self, counts: Counts) -> dict[str, float]:
        """From the observed agreement p_o and the expected one of the margins, p_e."""
        matrix = counts["matrix"].double()
        total, right = float(matrix.sum()), float(matrix.diagonal().sum())
        by_chance = float((matrix.sum(dim=0) * matrix.sum(dim=1)).sum())
        return {self.title: ratio(total * right - by_chance, total**2 - by_chance)}


class MCC(ConfusionMetric):
    """Matthews' correlation coefficient of labels and predictions, for any number of classes.

    Not defined where all labels, or all predictions, are of one class.
    """

    name: str = "mcc"
    called: ClassVar[str] = "MCC"
    share: ClassVar[bool] = False

    def compute(self, counts: Counts) -> dict[str, float]:
        """The covariance of one-hot labels and predictions by the root of their variances."""
        matrix = counts["matrix"].double()
        total, right = float(matrix.sum()), float(matrix.diagonal().sum())
        labels, predicted = matrix.sum(dim=1), matrix.sum(dim=0)
        covariance = total * right - float((labels * predicted).sum())
        variances = [total**2 - float(each.square().sum()) for each in (labels, predicted)]
        return {self.title: ratio(covariance, math.sqrt(variances[0] * variances[1]))}
