"""The shortest vector among the convex combinations of some vectors."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-12
"""Relative to the largest squared length; differences below it are rounding."""


def least_norm_weights(vectors: Tensor) -> Tensor:
    """The weights λ, not negative and of sum 1, that make ‖Σ λ_k u_k‖ smallest.

    Wolfe, Finding the nearest point in a polytope, Mathematical Programming 11, 1976: vectors join
    an active set one by one, and leave it where their weight would become negative. Only their
    inner products are used.

    Args:
        vectors: u, shape (n, size), float64.

    Returns:
        Shape (n,), float64.
    """
    products = vectors @ vectors.T
    least = TOLERANCE * float(products.diagonal().max())
    weights = products.new_zeros(len(products))
    active = [int(products.diagonal().argmin())]
    weights[active] = 1.0
    for _ in range(10 * len(products)):
        along = products @ weights
        nearest = int(along.argmin())
        if along[nearest] >= weights @ along - least or nearest in active:
            break
        active.append(nearest)
        while True:
            wanted = _of_sum_one(products[active][:, active])
            now = weights[active]
            if (wanted > 0).all():
                weights[active] = wanted
                break
            # As far towards `wanted` as weights stay positive; the first to reach 0 leaves.
            falling = wanted <= 0
            shares = torch.where(falling, now / (now - wanted).clamp(min=1e-300), torch.inf)
            gone = int(shares.argmin())
            weights[active] = now + shares[gone] * (wanted - now)
            weights[active[gone]] = 0.0
            del active[gone]
    return weights / weights.sum()


def _of_sum_one(products: Tensor) -> Tensor:
    """The weights of sum 1 and any sign that make the mean shortest, from inner products."""
    size = len(products)
    system = products.new_ones(size + 1, size + 1)
    system[:size, :size], system[size, size] = products, 0.0
    right = products.new_zeros(size + 1)
    right[size] = 1.0
    return torch.linalg.lstsq(system, right, driver="gelsd").solution[:size]
