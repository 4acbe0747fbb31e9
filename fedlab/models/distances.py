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
    return _Discrepancy.apply(torch.cat([these, those]))[0]  # type: ignore[index]


class _Discrepancy(torch.autograd.Function):
    """That of the first half of some rows from the second, with a gradient in few operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        """By products: quicker by far than all differences, and as exact around one of the rows.

        Returns:
            The discrepancy; the rows around the first of them; the kernels of all pairs with the
            weights of their sum, shape (kernels, 2, n, 2, n); the factors of squared distances in
            their exponents.
        """
        n = len(rows) // 2
        near = rows - rows[:1]
        products = near @ near.T
        lengths = products.diagonal()
        squares = (lengths.unsqueeze(0) + lengths.unsqueeze(1)).sub_(products, alpha=2)
        # Of equal rows both bandwidth and distance are 0; the least number avoids 0 / 0.
        pairs = 2 * n * (2 * n - 1)
        least = torch.finfo(rows.dtype).tiny * 2**KERNELS * pairs
        total = squares.sum().clamp(min=least)
        rates = constant(tuple(rate * pairs for rate in RATES), rows.dtype, rows.device) / total
        kernels = (squares * rates.view(-1, 1, 1)).exp()
        # Within these, across, across, within those.
        weights = tuple(sign / n**2 for sign in (1, -1, -1, 1))
        signs = constant(weights, rows.dtype, rows.device).view(2, 1, 2, 1)
        signed = kernels.view(-1, 2, n, 2, n) * signs
        return signed.sum(), near, signed, rates

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps all but the discrepancy."""
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> torch.Tensor:  # type: ignore[override]
        """That of row i is 4 Σ_j g_ij (row i - row j), g the gradient for squared distances."""
        near, signed, rates = ctx.saved_tensors
        of_squares = (signed.flatten(1).T @ (rates * grad)).view(len(near), len(near))
        diagonal = of_squares.sum(dim=1, keepdim=True)
        return torch.addmm(diagonal * near, of_squares, near, beta=4, alpha=-4)


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
