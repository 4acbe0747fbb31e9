"""Distances between two batches of representations, each a differentiable scalar.

The maximum mean discrepancy is Gretton, Borgwardt, Rasch, Schölkopf, Smith, "A Kernel Two-Sample
Test", JMLR 2012, with a sum of Gaussian kernels (Long, Cao, Wang, Jordan, "Learning Transferable
Features with Deep Adaptation Networks", ICML 2015, arXiv 1502.02791). Its bandwidths, and the two
other distances, are those of FRAug's authors' code (HaokunChen245/FRAug).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch.nn.functional import mse_loss

DistanceName = Literal["mmd", "mean_cov", "l2"]

KERNELS = 5
"""Gaussian kernels of the maximum mean discrepancy; each is twice as wide as the one before."""


def mmd(these: torch.Tensor, those: torch.Tensor) -> torch.Tensor:
    """The squared maximum mean discrepancy, its biased estimate.

    The kernel is the sum of exp(-d / (2^i b)) for i = -2 ... 2, d the squared distance and b its
    mean over all pairs of different rows. Gradients take b for a constant.

    Args:
        these: Shape (n, features), n > 1.
        those: Of the same shape.
    """
    rows = torch.cat([these, those])
    # By products of centred rows: quicker by far than all differences, and as exact.
    centred = rows - rows.detach().mean(dim=0)
    lengths = centred.square().sum(dim=1)
    squares = (lengths.unsqueeze(0) + lengths.unsqueeze(1) - 2 * centred @ centred.T).clamp(min=0)
    mean = squares.detach().sum() / (len(rows) * (len(rows) - 1))
    # Of equal rows both bandwidth and distance are 0; the least number avoids 0 / 0.
    base = mean.clamp(min=torch.finfo(mean.dtype).tiny * 2**KERNELS) / 2 ** (KERNELS // 2)
    kernel = sum((torch.exp(-squares / (base * 2**i)) for i in range(KERNELS)), rows.new_zeros(()))
    n = len(these)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def mean_cov(these: torch.Tensor, those: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the means plus that of the (unbiased) covariances.

    Args:
        these: Shape (n, features), n > 1.
        those: Shape (m, features), m > 1.
    """
    means = mse_loss(these.mean(dim=0), those.mean(dim=0))
    return means + mse_loss(torch.cov(these.T), torch.cov(those.T))


def l2(these: torch.Tensor, those: torch.Tensor) -> torch.Tensor:
    """The squared difference, row by row, averaged over rows and features.

    Args:
        these: Shape (n, features).
        those: Of the same shape.
    """
    return mse_loss(these, those)


DISTANCES: dict[DistanceName, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mmd": mmd,
    "mean_cov": mean_cov,
    "l2": l2,
}
