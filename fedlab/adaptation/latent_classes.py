"""Classes found in domains without labels by what shifts together (DDFA).

Unsupervised Learning under Latent Label Shift, Roberts, Mani, Garg, Lipton, NeurIPS 2022, arXiv
2207.13179; authors' code in acmi-lab/Latent-Label-Shift-DDFA. Domains have the same p(x | y) and
different p(y | d), as many of them linearly independent as there are classes, and of each class
there are samples that can be of no other (anchors). Then p(d | x) is a function of x's class alone
where x is such a sample, and p(cell | d) = Σ_y p(cell | y) p(y | d) has one factorisation in which
each class has a cell to itself. Of the non-negative ones, as the authors' code has them, there are
many where every domain has several classes.

Here a domain is a client. Cells are found by k-means of which clients send sums, so that no sample
and no output of one leaves a client.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fedlab import rng


class Cells(NamedTuple):
    """Cells of p(d | x).

    Attributes:
        centres: Shape (cells, domains).
        inertia: Sum over samples of the squared distance to the nearest.
        steps: How often clients have sent sums, over all restarts; a start counts as one, as it
            draws as many points as a step has centres.
    """

    centres: np.ndarray
    inertia: float
    steps: int


def without_prior(chances: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """p(d | x) as if all domains were equally frequent, shape (n, domains).

    Args:
        chances: p(d | x) where they are not.
        prior: p(d) among what the discriminator was trained on, above 0.
    """
    even = chances / prior
    return even / even.sum(axis=1, keepdims=True)


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each point, int64 of shape (n,), and the squared distance to it."""
    squares = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    found = squares.argmin(axis=1)
    return found, squares[np.arange(len(points)), found].clip(min=0)


def federated_k_means(
    parts: Sequence[np.ndarray], cells: int, *, seed: int, steps: int = 100, restarts: int = 5
) -> Cells:
    """k-means of points that stay with clients; the best of several starts.

    A start is k-means++: clients send the sum of squared distances of their points, one of them is
    drawn in proportion to it, and draws one of its points likewise. A step: clients send counts and
    sums of their points in each cell. A cell that is empty stays where it is.

    Args:
        parts: Each client's points, float64 of shape (n_k, dimensions).
        cells: Number of cells.
        seed: Seed of the starts.
        steps: Steps of a start, at most.
        restarts: Starts.
    """
    best, sent = None, 0
    for restart in range(restarts):
        random = rng.generator(seed, "discover", "cells", restart)
        centres = _start(parts, cells, random)
        inertia, taken = np.inf, 0
        for _ in range(steps):
            taken += 1
            counts, sums = np.zeros(cells), np.zeros_like(centres)
            now = 0.0
            for points in parts:
                where, squares = nearest(points, centres)
                counts += np.bincount(where, minlength=cells)
                np.add.at(sums, where, points)
                now += float(squares.sum())
            some = counts > 0
            centres[some] = sums[some] / counts[some, None]
            if now >= inertia:
                break
            inertia = now
        inertia = sum(float(nearest(points, centres)[1].sum()) for points in parts)
        sent += taken + 1
        if best is None or inertia < best.inertia:
            best = Cells(centres, inertia, 0)
    assert best is not None
    return best._replace(steps=sent)


def _start(parts: Sequence[np.ndarray], cells: int, random: np.random.Generator) -> np.ndarray:
    weights = [np.ones(len(points)) for points in parts]
    centres = np.empty((cells, parts[0].shape[1]))
    for cell in range(cells):
        totals = np.array([each.sum() for each in weights])
        if not totals.sum() > 0:  # fewer different points than cells
            totals = np.array([float(len(points)) for points in parts])
            weights = [np.ones(len(points)) for points in parts]
        client = random.choice(len(parts), p=totals / totals.sum())
        own = weights[client]
        centres[cell] = parts[client][random.choice(len(own), p=own / own.sum())]
        for place, points in enumerate(parts):
            squares = ((points - centres[cell]) ** 2).sum(axis=1)
            weights[place] = np.minimum(weights[place], squares) if cell else squares
    return centres


def histograms(parts: Sequence[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """p(cell | d): the share of each client's points in each cell, shape (cells, domains)."""
    counts = [np.bincount(nearest(points, centres)[0], minlength=len(centres)) for points in parts]
    return np.stack([each / each.sum() for each in counts], axis=1)


class Factors(NamedTuple):
    """p(cell | d) = Σ_y p(cell | y) p(y | d).

    Attributes:
        cells: p(cell | y), shape (cells, classes).
        priors: p(y | d), shape (classes, domains).
        residual: Frobenius norm of what is left of p(cell | d).
    """

    cells: np.ndarray
    priors: np.ndarray
    residual: float


def factorise(shares: np.ndarray, classes: int, *, seed: int, starts: int = 10) -> Factors:
    """Non-negative matrix factorisation with columns that are distributions.

    Args:
        shares: p(cell | d), shape (cells, domains).
        classes: Number of parts.
        seed: Seed of the starts.
        starts: Random starts, of which that with the smallest residual counts.
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    best = None
    for start in range(starts):
        number = int(rng.generator(seed, "discover", "factors", start).integers(2**31))
        # Its annotations say that the number is text.
        model: Any = NMF(init="random", random_state=number, max_iter=5000, tol=1e-8)
        model.set_params(n_components=classes)
        with warnings.catch_warnings():  # the residual says how near a start has come
            warnings.simplefilter("ignore", ConvergenceWarning)
            left = model.fit_transform(shares)
        found = normalised(left, model.components_)
        residual = float(np.linalg.norm(shares - found.cells @ found.priors))
        if best is None or residual < best.residual:
            best = found._replace(residual=residual)
    assert best is not None
    return best


def anchored(shares: np.ndarray, classes: int, least: float) -> Factors:
    """The factorisation of which each class has a cell to itself, an anchor.

    Rows of p(cell | d), divided by their sums, are mixtures of those of the anchors, which are
    found by successive projection: the longest row, and then the longest of what is left of the
    others (Gillis, Vavasis, IEEE TPAMI 2014, arXiv 1208.1237). There is one such factorisation,
    where a non-negative one need not be the only one.

    Args:
        shares: p(cell | d), shape (cells, domains).
        classes: Number of anchors.
        least: The mean share of a cell that may be an anchor; smaller ones are too noisy.
    """
    from scipy.optimize import nnls

    sizes = shares.sum(axis=1)
    rows = shares / np.where(sizes > 0, sizes, 1)[:, None]
    allowed = sizes >= least * shares.shape[1]
    if allowed.sum() < classes:
        allowed = sizes >= np.sort(sizes)[-classes]
    left, found = np.where(allowed[:, None], rows, 0), list[int]()
    for _ in range(classes):
        lengths = (left**2).sum(axis=1)
        lengths[found] = -1
        found.append(int(lengths.argmax()))
        own = left[found[-1]]
        left = left - np.outer(left @ own, own) / max(float(own @ own), np.finfo(float).tiny)
    corners = rows[found]
    parts = np.stack([nnls(corners.T, row)[0] for row in shares])
    result = normalised(parts, corners)
    residual = float(np.linalg.norm(shares - result.cells @ result.priors))
    return result._replace(residual=residual)


def normalised(left: np.ndarray, right: np.ndarray) -> Factors:
    """The factors of ``left @ right`` whose columns sum to 1.

    Args:
        left: Shape (cells, classes); a column of zeros is a class that no domain has.
        right: Shape (classes, domains).
    """
    sums = left.sum(axis=0)
    cells = left / np.where(sums > 0, sums, 1)
    scaled = right * sums[:, None]
    totals = scaled.sum(axis=0)
    even = np.full_like(scaled, 1 / len(scaled))
    priors = np.where(totals > 0, scaled / np.where(totals > 0, totals, 1), even)
    return Factors(cells, priors, 0.0)


def domains_of_classes(priors: np.ndarray) -> np.ndarray:
    """p(d | y) = p(y | d) / Σ_d p(y | d), with domains equally frequent; (classes, domains).

    Args:
        priors: p(y | d), shape (classes, domains).
    """
    sums = priors.sum(axis=1, keepdims=True)
    return np.where(sums > 0, priors / np.where(sums > 0, sums, 1), 0.0)


def class_chances(chances: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """p(y | x) over all domains, shape (n, classes).

    Solves p(d | x) = Σ_y p(d | y) p(y | x) by least squares; what is negative is taken for 0, and
    where nothing is left all classes are equally likely.

    Args:
        chances: p(d | x) with domains equally frequent, shape (n, domains).
        priors: p(y | d), shape (classes, domains).
    """
    solved = np.linalg.lstsq(domains_of_classes(priors).T, chances.T, rcond=None)[0].T
    return _distributions(solved.clip(min=0))


def in_domain(chances: np.ndarray, priors: np.ndarray, domain: int) -> np.ndarray:
    """p(y | x, d) ∝ p(d | y) p(y | x), shape (n, classes).

    Args:
        chances: p(y | x), shape (n, classes).
        priors: p(y | d), shape (classes, domains).
        domain: d.
    """
    return _distributions(chances * domains_of_classes(priors)[:, domain])


def _distributions(weights: np.ndarray) -> np.ndarray:
    sums = weights.sum(axis=1, keepdims=True)
    return np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 1 / weights.shape[1])


def matched(found: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """The true class that stands for each found one, such that most samples are right (Hungarian).

    Args:
        found: Found class of each sample, int64 of shape (n,).
        true: True class, likewise.
        classes: Number of both.

    Returns:
        int64 of shape (classes,).
    """
    from scipy.optimize import linear_sum_assignment

    both = np.zeros((classes, classes))
    np.add.at(both, (found, true), 1)
    return linear_sum_assignment(both, maximize=True)[1]
