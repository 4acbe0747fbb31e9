"""Moments and principal axes of features, pooled over clients, and samples drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """First and second moments of some samples.

    Attributes:
        count: Number of samples n.
        mean: μ, float64 of shape (features,).
        covariance: (1/n) Σ (x - μ)(x - μ)ᵀ, float64 of shape (features, features).
    """

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, samples: Tensor) -> Moments:
        """The moments of samples of shape (n, features), n > 0."""
        values = samples.double()
        mean = values.mean(dim=0)
        centred = values - mean
        product = centred.T @ centred / len(values)  # symmetric to the last bit only by chance
        return cls(len(values), mean, (product + product.T) / 2)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of samples together, exact up to rounding.

        With n = n₁ + n₂ and d = μ₂ - μ₁, the covariance is (n₁ Σ₁ + n₂ Σ₂)/n + n₁ n₂/n² d dᵀ;
        over many clients this is (1/N) [Σ_k n_k Σ_k + Σ_k n_k (μ_k - μ)(μ_k - μ)ᵀ].
        """
        count = self.count + other.count
        share = other.count / count
        apart = other.mean - self.mean
        within = (1 - share) * self.covariance + share * other.covariance
        between = share * (1 - share) * torch.outer(apart, apart)
        return Moments(count, self.mean + share * apart, within + between)


class Geometry(NamedTuple):
    """Eigenvalues and eigenvectors of a covariance, descending.

    Attributes:
        values: Eigenvalues λ of the covariance, none negative, shape (axes,).
        vectors: Eigenvectors ξ, one in each column, shape (features, axes).
    """

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, covariance: Tensor, rank: int | None = None) -> Geometry:
        """The eigenpairs of a symmetric matrix, in float64.

        Args:
            covariance: Shape (features, features). What rounding or noise made negative becomes 0.
            rank: Pairs to keep; all by default.
        """
        values, vectors = torch.linalg.eigh(covariance.double())
        keep = slice(rank)
        return cls(values.flip(0).clamp(min=0)[keep], vectors.flip(1)[:, keep])

    @property
    def factor(self) -> Tensor:
        """A matrix A with A Aᵀ = Σ λ ξ ξᵀ, shape (features, axes)."""
        return self.vectors * self.values.sqrt()

    def around(self, centres: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """A sample around each centre: x + Σ_m ε_m s_m ξ_m with ε_m ~ N(0, 1).

        Args:
            centres: Shape (n, features).
            lengths: The standard deviation s_m along each axis, shape (axes,).
            generator: Draws ε on the CPU, the same on every device.

        Returns:
            Float32 of shape (n, features).
        """
        draws = torch.randn(len(centres), len(lengths), generator=generator)
        axes = (self.vectors * lengths).float()
        return centres.float() + draws.to(centres.device) @ axes.T


def pack(symmetric: Tensor) -> Tensor:
    """The upper triangle, row after row: shape (..., n, n) becomes (..., n(n+1)/2)."""
    rows, columns = _triangle(symmetric.shape[-1], symmetric)
    return symmetric[..., rows, columns]


def unpack(packed: Tensor, size: int) -> Tensor:
    """The inverse of `pack`: shape (..., size(size+1)/2) becomes (..., size, size)."""
    rows, columns = _triangle(size, packed)
    whole = packed.new_zeros(*packed.shape[:-1], size, size)
    whole[..., rows, columns] = packed
    whole[..., columns, rows] = packed
    return whole


def _triangle(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(size, size, device=like.device)
    return rows, columns
