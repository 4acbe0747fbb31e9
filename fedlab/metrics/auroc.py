"""The area under the ROC curve, and average precision."""

from __future__ import annotations

from typing import ClassVar

import torch

from fedlab.metrics.score_histogram import Histogram, RankingMetric


class AUROC(RankingMetric):
    """Probability that a sample of the class scores above another; ties count half.

    Of a histogram with P positive samples, p_b of them in bin b, and N negative ones, n_b of them
    in it and N_b in the bins below: Σ_b p_b (N_b + n_b / 2) / (PN), which is off by at most
    Σ_b p_b n_b / (2PN).
    """

    name: str = "auroc"
    called: ClassVar[str] = "AUROC"

    def of_class(self, histogram: Histogram) -> tuple[float, float]:
        """The area, and its largest error."""
        positive, negative = histogram
        pairs = positive.sum() * negative.sum()
        below = negative.cumsum(dim=0) - negative
        within = (positive * negative).sum() / 2
        return float(((positive * below).sum() + within) / pairs), float(within / pairs)


class AveragePrecision(RankingMetric):
    """Mean over the samples of a class of the precision at their score, without interpolation.

    Samples within a bin count as tied. In a bin with p positive and n negative samples, and T and F
    of them above, the precision at the j-th positive one lies between (T + j) / (T + j + F + n) and
    (T + p) / (T + p + F): the error follows from both ends.
    """

    name: str = "average_precision"

    def of_class(self, histogram: Histogram) -> tuple[float, float]:
        """The mean, and its largest error."""
        p, n = (counts.flip(0) for counts in histogram)
        true, false = p.cumsum(dim=0), n.cumsum(dim=0)
        used = p > 0
        p, n, true, false = p[used], n[used], true[used], false[used]
        tied = p * true / (true + false)
        highest = p * true / (true + false - n)
        digamma = torch.special.digamma
        # Σ_j (T + j) / (T + j + F), by which 1 / x sums up to differences of digamma.
        ahead = false * (digamma(true + false + 1) - digamma(true - p + false + 1))
        lowest = p - ahead
        whole = p.sum()
        error = torch.maximum((highest - tied).sum(), (tied - lowest).sum())
        return float(tied.sum() / whole), float(error / whole)
