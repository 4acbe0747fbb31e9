"""Feature skew: how far domains lie apart in features, which measures of label skew cannot show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedlab import rng
from fedlab.data.samples import FederatedData
from fedlab.errors import InputError

if TYPE_CHECKING:
    import pandas

MOST = 1_000
"""Samples of a domain that are looked at, drawn by the scenario's seed."""


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½): the Fréchet distance of Gaussians.

    Dowson, Landau, The Fréchet Distance between Multivariate Normal Distributions, 1982.

    Args:
        one: Features of shape (n, features).
        other: Features of shape (m, features).
    """
    first, second = (np.cov(each, rowvar=False).reshape(each.shape[1], -1) for each in (one, other))
    mean = one.mean(axis=0) - other.mean(axis=0)
    # Tr (Σ₁Σ₂)^½ = Tr (Σ₁^½ Σ₂ Σ₁^½)^½, whose eigenvalues are those of a symmetric matrix.
    root = _root(first)
    values = np.linalg.eigvalsh(root @ second @ root)
    cross = np.sqrt(values.clip(min=0)).sum()
    return float(mean @ mean + np.trace(first) + np.trace(second) - 2 * cross)


def squared_mmd(one: np.ndarray, other: np.ndarray, width: float | None = None) -> float:
    """The unbiased estimate of MMD² with the kernel exp(-‖x - y‖² / (2 σ²)).

    A Kernel Two-Sample Test, Gretton, Borgwardt, Rasch, Schölkopf, Smola, JMLR 13, 2012 (lemma 6).

    Args:
        one: Features of shape (n, features).
        other: Features of shape (m, features).
        width: σ; by default the median distance of all pairs of samples.
    """
    distances = [_squares(a, b) for a, b in ((one, one), (other, other), (one, other))]
    if width is None:
        within = [each[np.triu_indices(len(each), 1)] for each in distances[:2]]
        among = np.concatenate([*within, distances[2].ravel()])
        width = float(np.sqrt(np.median(among[among > 0]))) if (among > 0).any() else 1.0
    first, second, across = (np.exp(-each / (2 * width**2)) for each in distances)
    n, m = len(one), len(other)
    own = (first.sum() - n) / (n * (n - 1)) + (second.sum() - m) / (m * (m - 1))
    return float(own - 2 * across.mean())


def proxy_a_distance(one: np.ndarray, other: np.ndarray, seed: int) -> float:
    """2 (1 - 2ε), ε the error of a linear classifier between the two, on held-out halves.

    0 where the classifier is no better than chance, 2 where it is always right. Analysis of
    Representations for Domain Adaptation, Ben-David, Blitzer, Crammer, Pereira, NeurIPS 2006. Both
    count the same.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = np.concatenate([one, other])
    labels = np.repeat([0, 1], [len(one), len(other)])
    state = rng.seed_of(seed, "feature skew") % 2**32
    halves = StratifiedKFold(2, shuffle=True, random_state=state)
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
    )
    predicted = cross_val_predict(classifier, inputs, labels, cv=halves)
    error = 1 - balanced_accuracy_score(labels, predicted)
    return float(max(0.0, 2 * (1 - 2 * error)))


def feature_skew(data: FederatedData, seed: int) -> pandas.DataFrame:
    """Distances between the domains of the training pool, in the learnt features.

    Features are standardised over all domains first, each of which counts the same.

    Args:
        data: Features of shape (n, features), as an extractor of the scenario gives them.
        seed: The scenario's seed; it draws the samples where a domain has more than a thousand.

    Returns:
        One row for each pair of domains: ``domain``, ``other``, ``proxy A-distance``, ``MMD²``,
        ``Fréchet``.

    Raises:
        InputError: If samples are images, or there is one domain.
    """
    import pandas

    inputs, domains = data.train.inputs, data.train.domains
    if inputs.ndim != 2:
        raise InputError(
            "feature skew is measured on features, and the samples are images; name an extractor, "
            "such as data.features=warm_up, or data.features={name: run, run: runs/...}"
        )
    present = [d for d in range(len(data.domain_names)) if (domains == d).sum() > 3]
    if len(present) < 2:
        raise InputError("feature skew is between domains, and there are not two with samples")
    drawn = {}
    for domain in present:
        own = np.flatnonzero(domains == domain)
        generator = rng.generator(seed, "feature skew", domain)
        some = generator.choice(own, min(MOST, len(own)), replace=False)
        drawn[domain] = inputs[np.sort(some)].astype(np.float64)
    mean = np.mean([each.mean(axis=0) for each in drawn.values()], axis=0)
    squares = np.mean([((each - mean) ** 2).mean(axis=0) for each in drawn.values()], axis=0)
    spread = np.where(squares > 0, np.sqrt(squares), 1.0)
    scaled = {domain: (each - mean) / spread for domain, each in drawn.items()}
    rows = [
        {
            "domain": data.domain_names[a],
            "other": data.domain_names[b],
            "proxy A-distance": proxy_a_distance(scaled[a], scaled[b], seed),
            "MMD²": squared_mmd(scaled[a], scaled[b]),
            "Fréchet": frechet(scaled[a], scaled[b]),
        }
        for place, a in enumerate(present)
        for b in present[place + 1 :]
    ]
    return pandas.DataFrame(rows)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distances, shape (n, m)."""
    norms = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return (norms - 2 * one @ other.T).clip(min=0)
