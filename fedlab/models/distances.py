"""Distances between two batches of representations, each a differentiable scalar.

The maximum mean discrepancy is Gretton, Borgwardt, Rasch, Schölkopf, Smith, "A Kernel Two-Sample
Test", JMLR 2012, with a sum of Gaussian kernels (Long, Cao, Wang, Jordan, "Learning Transferable
Features with Deep Adaptation Networks", ICML 2015, arXiv 1502.02791). Its bandwidths, and the two
other distances, are those of FRAug's authors' code (HaokunChen245/FRAug).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.nn.functional import mse_loss

from fedlab.constants import constant

DistanceName = Literal["mmd", "mean_cov", "l2"]

KERNELS = 5
"""Gaussian kernels of the maximum mean discrepancy; each is twice as wide as the one before."""

RATES = tuple(-(2.0 ** (KERNELS // 2 - i)) for i in range(KERNELS))
"""What their exponents are multiplied by, for distances over the mean one."""


def mmd(these: torch.Tensor, those: torch.Tensor) -> torch.Tensor:
    """The squared maximum mean discrepancy, its biased estimate.

    The kernel is the sum of exp(-d / (2^i b)) for i = -2 ... 2, d the squared distance and b its
    mean over all pairs of different rows. Gradients take b for a constant.

    Args:
        these: Shape (n, features), n > 1.
        those: Of the same shape.
    """
    rows, n = torch.cat([these, those]), len(these)
    squares = _SquaredDistances.apply(rows - rows.detach().mean(dim=0))
    mean = squares.detach().sum() / (2 * n * (2 * n - 1))
    # Of equal rows both bandwidth and distance are 0; the least number avoids 0 / 0.
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny * 2**KERNELS)
    rates = constant(RATES, rows.dtype, rows.device) / mean
    kernels = (squares * rates.view(-1, 1, 1)).exp()
    # Within these, across, across, within those.
    sums = kernels.view(-1, 2, n, 2, n).sum(dim=(0, 2, 4)).flatten()
    return sums.dot(
        constant(tuple(sign / n**2 for sign in (1, -1, -1, 1)), rows.dtype, rows.device)
    )


class _SquaredDistances(torch.autograd.Function):
    """Squared distances of all pairs of centred rows, with a gradient in few operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(centred: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """By products: quicker by far than all differences, and as exact where rows are centred."""
        lengths = centred.square().sum(dim=1)
        sums = lengths.unsqueeze(0) + lengths.unsqueeze(1)
        return torch.addmm(sums, centred, centred.T, alpha=-2).clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps the rows."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The gradient of row i is 2 Σ_j (g_ij + g_ji) (row i - row j)."""
        (centred,) = ctx.saved_tensors
        both = grad + grad.T
        return torch.addmm(both.sum(dim=1, keepdim=True) * centred, both, centred, beta=2, alpha=-2)


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
