"""Marginals of labels that neighbours share and of which bags have known counts.

Learning from Label Proportions: Bootstrapping Supervised Learners via Belief Propagation, Havaldar,
Sharma, Sareen, Shanmugam, Raghuveer, ICLR 2024, arXiv 2310.08056; for two classes its formula is

    log P(y) = -λ_b Σ_bags (Σ_i y_i - s)² - λ_s Σ_pairs k_ij (y_i - y_j)² + const, y_i in {0, 1}.

Here squares are summed over the one-hot labels of any number of classes, and halved, which leaves
two classes as they are. Per sample that is -λ_b (1 - 2 s_c) / 2 for class c, and per pair of equal
labels -λ_b within a bag and λ_s k_ij between neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 1024
"""Samples whose distances to all others are computed at once."""


class Pairs(NamedTuple):
    """Weights of pairs of samples with equal labels, each pair once.

    Attributes:
        first: Indices of samples, int64 of shape (pairs,).
        second: Indices of samples, likewise.
        weights: Float64 of shape (pairs,).
    """

    first: Tensor
    second: Tensor
    weights: Tensor


def bag_pairs(samples: int, size: int, weight: float) -> Pairs:
    """All pairs within bags, of weight -λ_b.

    Args:
        samples: Number of samples, bag after bag.
        size: Samples of a bag.
        weight: λ_b.
    """
    one, other = torch.triu_indices(size, size, offset=1)
    starts = torch.arange(0, samples, size)[:, None]
    first = (starts + one).flatten()
    weights = torch.full(first.shape, -weight, dtype=torch.float64)
    return Pairs(first, (starts + other).flatten(), weights)


def bag_unaries(shares: Tensor, size: int, weight: float) -> Tensor:
    """-λ_b (1 - 2 s_c) / 2 of each sample and class, float64 of shape (n, classes).

    Args:
        shares: Of each sample the shares of the classes in its bag, shape (n, classes).
        size: Samples of a bag, so that s = size · shares.
        weight: λ_b.
    """
    return -weight / 2 * (1 - 2 * size * shares.double())


def neighbour_pairs(
    points: Tensor, neighbours: int, weight: float, length: float | None = None
) -> Pairs:
    """Pairs of which one is among the other's nearest by cosine, of weight λ_s e^{-‖x - x'‖/ℓ}.

    Args:
        points: Covariates, float64 of shape (n, features).
        neighbours: Nearest others of each sample.
        weight: λ_s.
        length: ℓ; None for the median distance of the pairs.
    """
    count = min(neighbours, len(points) - 1)
    directions = normalize(points, dim=1)
    found = []
    for rows in torch.arange(len(points)).split(CHUNK):
        near = directions[rows] @ directions.T
        near[torch.arange(len(rows)), rows] = -torch.inf
        nearest = near.argsort(dim=1, descending=True, stable=True)[:, :count]
        found.append(torch.stack([rows.repeat_interleave(count), nearest.flatten()]))
    ends = torch.cat(found, dim=1).sort(dim=0).values.unique(dim=1)
    apart = (points[ends[0]] - points[ends[1]]).norm(dim=1)
    scale = (float(apart.median()) if len(apart) else 1.0) if length is None else length
    closeness = (-apart / scale).exp() if scale > 0 else torch.ones_like(apart)
    return Pairs(ends[0], ends[1], weight * closeness)


def together(samples: int, *parts: Pairs) -> Pairs:
    """Several sets of pairs as one, with the weights of a pair that is in several added up."""
    first, second, weights = (torch.cat(each) for each in zip(*parts, strict=True))
    keys, places = (first * samples + second).unique(return_inverse=True)
    summed = torch.zeros(len(keys), dtype=torch.float64).index_add_(0, places, weights)
    return Pairs(keys // samples, keys % samples, summed)


def marginals(unaries: Tensor, pairs: Pairs, *, iterations: int, damping: float) -> Tensor:
    """Sum-product loopy belief propagation, exact where pairs form no loop.

    All messages are renewed at once. Where pairs repel strongly, every other round turns messages
    around, which damping prevents.

    Args:
        unaries: Log-weight of each sample's classes, float64 of shape (n, classes), on the CPU.
        pairs: Log-weights of equal labels.
        iterations: Rounds of messages.
        damping: Share of an old message in the new one, of logarithms.

    Returns:
        Each sample's probabilities, shape (n, classes).
    """
    sender = torch.cat([pairs.first, pairs.second])
    receiver = torch.cat([pairs.second, pairs.first])
    weights = torch.cat([pairs.weights, pairs.weights])[:, None]
    messages = torch.zeros(len(sender), unaries.shape[1], dtype=torch.float64)
    for _ in range(iterations if len(sender) else 0):
        beliefs = unaries.index_add(0, receiver, messages)
        cavity = beliefs[sender] - messages.roll(len(pairs.first), dims=0)
        new = _passed(cavity.log_softmax(dim=1), weights)
        messages = (1 - damping) * new.log_softmax(dim=1) + damping * messages
    return unaries.index_add(0, receiver, messages).softmax(dim=1)


def _passed(cavity: Tensor, weights: Tensor) -> Tensor:
    """log(Σ_{c'≠c} e^{a_c'} + e^{w + a_c}) of each message; a sum and no difference of sums."""
    chances = cavity.exp()
    nothing = chances.new_zeros(len(chances), 1)
    before = torch.cat([nothing, chances.cumsum(dim=1)[:, :-1]], dim=1)
    after = torch.cat([chances.flip(1).cumsum(dim=1).flip(1)[:, 1:], nothing], dim=1)
    return torch.logaddexp((before + after).log(), weights + cavity)
