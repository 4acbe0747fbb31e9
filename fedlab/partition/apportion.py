"""Arithmetic shared by all skews: whole numbers from shares, and random shares."""

from __future__ import annotations

import math

import numpy as np

ROUNDING = 1e-9
"""A quota this close to a whole number is that number."""


def apportion(
    total: int,
    weights: np.ndarray,
    rng: np.random.Generator,
    minimum: np.ndarray | int = 0,
) -> np.ndarray:
    """Divides a number of samples in proportion to weights, without losing any.

    Every part is its exact quota rounded down or up, and right on average (systematic rounding
    of the fractions): a client with a quota of 0.3 in each of ten classes gets about three samples,
    where rounding by the largest remainder would always leave it with none.

    Args:
        total: Samples to divide.
        weights: Non-negative, shape (n,).
        rng: Decides about the fractions.
        minimum: What each must get at least; altogether at most `total`.

    Returns:
        int64 of shape (n,) that sums to `total`; zeros if all weights are zero.
    """
    quotas = _quotas(total, weights, np.broadcast_to(minimum, weights.shape))
    whole = np.floor(quotas + ROUNDING)
    edges = np.cumsum(np.maximum(quotas - whole, 0.0))
    if len(edges) and edges[-1] > 0:
        left = round(float(quotas.sum() - whole.sum()))
        edges = np.floor(edges * (left / edges[-1]) + rng.uniform(ROUNDING, 1 - ROUNDING))
        whole += np.diff(edges, prepend=0.0)
    return whole.astype(np.int64)


def _quotas(total: int, weights: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    """Exact shares of `total`, raised to `minimum` at the expense of those that have more."""
    if not weights.any():
        return np.zeros(len(weights))
    quotas = total * (weights / weights.sum())
    raised = np.zeros(len(weights), dtype=bool)
    while True:
        low = ~raised & (quotas < minimum - ROUNDING)
        if not low.any():
            return quotas
        raised |= low
        rest = np.where(raised, 0.0, weights)
        rest_total = total - minimum[raised].sum()
        quotas = np.where(raised, minimum, rest_total * (rest / max(rest.sum(), 1e-300)))


def guaranteed_minimum(
    quotas: np.ndarray, totals: np.ndarray, least: int, rng: np.random.Generator
) -> np.ndarray:
    """Samples that clients with small quotas get for any rounding of the fractions.

    Args:
        quotas: Exact shares of each part, shape (clients, parts); rows sum to `least` or more.
        totals: Samples of each part, shape (parts,).
        least: Samples that each client is guaranteed.
        rng: Chooses the parts, in proportion to the quotas.

    Returns:
        int64 of shape (clients, parts); rows sum to `least`, except that a part that would be
        promised more often than it has samples is promised to no client.
    """
    sums = np.maximum(quotas.sum(axis=1, keepdims=True), 1e-300)
    minimum = rng.multinomial(least, quotas / sums)
    return minimum * (minimum.sum(axis=0) <= totals)


def client_domain_sizes(
    totals: np.ndarray, shares: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Samples of each domain for each client; all samples of owned domains are used.

    Every client gets at least one sample, as long as a domain has enough of them.

    Args:
        totals: Samples of each domain, shape (domains,).
        shares: Relative share of each client in each domain, shape (clients, domains).
        rng: Decides about fractions.

    Returns:
        int64 of shape (clients, domains).
    """
    columns = shares.sum(axis=0)
    quotas = totals * (shares / np.where(columns > 0, columns, 1.0))
    minimum = np.zeros(shares.shape, dtype=np.int64)
    small = np.flatnonzero(np.floor(quotas + ROUNDING).sum(axis=1) == 0)
    minimum[small] = guaranteed_minimum(quotas[small], totals, 1, rng)
    return np.stack(
        [
            apportion(int(total), shares[:, domain], rng, minimum[:, domain])
            for domain, total in enumerate(totals)
        ],
        axis=1,
    )


def log_gamma(alpha: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Logarithms of Gamma(alpha, 1) variates; normalised along any axis they are Dirichlet(alpha).

    In logarithms, because for a small alpha the variates themselves are all zero in float64.
    Uses Gamma(alpha) = Gamma(alpha + 1) * U**(1 / alpha).
    """
    uniform = 1.0 - rng.random(shape)
    return np.log(rng.standard_gamma(alpha + 1.0, shape)) + np.log(uniform) / alpha


def normalised(logarithms: np.ndarray, axis: int) -> np.ndarray:
    """Exponentials of `logarithms`, scaled so that they sum to one along `axis`."""
    weights = np.exp(logarithms - logarithms.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def balanced_assignment(
    choosers: int, options: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Assigns `count` different options to each chooser, each option equally often.

    The options are shuffled anew for each block of choosers, and assigned in that order, again
    from the start after the last one. A block is the smallest number of choosers that uses every
    option equally often.

    Returns:
        int64 of shape (choosers, count); rows hold no option twice, and the popularity of two
        options differs by at most one in every block.
    """
    block = options // math.gcd(options, count)
    packs = rng.permuted(np.tile(np.arange(options), (-(-choosers // block), 1)), axis=1)
    chooser = np.arange(choosers)[:, None]
    cards = (chooser % block * count + np.arange(count)) % options
    return packs[chooser // block, cards]
