"""Label shift: the class prior of an unlabelled test set, and predictions corrected by it.

Assumes that p(x | class) is the same in the source and in the test set, and that only the prior
differs: p for the source, q for the test set, and w = q / p. Estimators of w:

- ``bbse``: Detecting and Correcting for Label Shift with Black Box Predictors, Lipton, Wang, Smola,
  ICML 2018, arXiv 1802.03916: C w = μ, with C[i, j] the share of source samples that are predicted
  i and of class j, and μ[i] the share of test samples that are predicted i.
- ``rlls``: Regularized Learning for Domain Adaptation under Label Shifts, Azizzadenesheli, Liu,
  Yang, Anandkumar, ICLR 2019, arXiv 1903.09734: the same equations, and a penalty on ‖w - 1‖.
- ``em``: Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple Procedure,
  Saerens, Latinne, Decaestecker, Neural Computation 14, 2002: the likelihood of q. The network's
  probabilities have to be calibrated for every class (`fedlab.adaptation.score_calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fedlab.errors import InputError

Estimator = Literal["bbse", "rlls", "em"]

ALPHA, DELTA = 0.01, 0.05
"""Weight of RLLS' penalty and confidence of its bound, as in the authors' code."""

LEAST_SINGULAR = 1e-3
"""Smallest singular value of P(predicted | class), relative to the largest, that BBSE divides by: a
tenth of a per cent of other predictions would otherwise turn the whole prior."""


class Prior(NamedTuple):
    """A class prior.

    Attributes:
        source: p, shape (classes,).
        test: The estimate of q, shape (classes,); it sums to 1.
    """

    source: np.ndarray
    test: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The ratios w = q / p, shape (classes,)."""
        return self.test / self.source


def estimate(
    estimator: Estimator,
    chances: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    names: Sequence[str],
) -> Prior:
    """The class prior of a test set.

    Args:
        estimator: ``bbse``, ``rlls`` or ``em``.
        chances: p(class | x) of source samples, shape (n, classes).
        labels: Their classes, int64 of shape (n,).
        test: p(class | x) of test samples, shape (m, classes).
        names: Names of the classes, for errors.

    Raises:
        InputError: If the source has no sample of a class, or BBSE no solution.
    """
    refuse_lacking(labels, names)
    classes = len(names)
    source = np.bincount(labels, minlength=classes) / len(labels)
    if estimator == "em":
        return Prior(source, em(test, source))
    joint = confusion(chances.argmax(axis=1), labels, classes)
    shares = np.bincount(test.argmax(axis=1), minlength=classes) / len(test)
    if estimator == "bbse":
        refuse_singular(joint, names)
        weights = bbse(joint, shares)
    else:
        weights = rlls(joint, shares, len(labels))
    prior = weights * source
    return Prior(source, prior / prior.sum())


def refuse_lacking(labels: np.ndarray, names: Sequence[str]) -> None:
    """Refuses source samples that lack a class.

    Args:
        labels: Their classes, int64 of shape (n,).
        names: Names of the classes.

    Raises:
        InputError: With these classes.
    """
    counts = np.bincount(labels, minlength=len(names))
    if not counts.all():
        lacking = ", ".join(names[int(place)] for place in np.flatnonzero(counts == 0))
        raise InputError(
            f"--method: there is no source sample of {lacking}, so that nothing is "
            "known of how such samples are predicted; set more samples aside "
            "(evaluation.validation) or take a run that trains on these classes"
        )


def confusion(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """C[i, j], the share of samples predicted as i and of class j; the entries sum to 1.

    Args:
        predictions: int64 of shape (n,).
        labels: int64 of shape (n,).
        classes: Number of classes.

    Returns:
        Shape (classes, classes).
    """
    pairs = np.bincount(predictions * classes + labels, minlength=classes**2)
    return pairs.reshape(classes, classes) / len(labels)


def refuse_singular(joint: np.ndarray, names: Sequence[str]) -> None:
    """Refuses a confusion matrix that is singular, which BBSE cannot invert.

    Args:
        joint: C, each column of which has a sample.
        names: Names of the classes.

    Raises:
        InputError: With the classes that are never predicted, where that is the reason.
    """
    values = np.linalg.svd(joint / joint.sum(axis=0), compute_uv=False)
    if values[-1] > LEAST_SINGULAR * values[0]:
        return
    never = ", ".join(names[int(place)] for place in np.flatnonzero(joint.sum(axis=1) == 0))
    why = f"{never} is never predicted" if never else "predictions do not separate all classes"
    raise InputError(
        f"--estimator: bbse divides by the confusion matrix of the source samples, which is "
        f"singular ({why}); use --estimator rlls or em, or train longer"
    )


def bbse(joint: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weights w = max(C⁻¹ μ, 0), shape (classes,).

    Args:
        joint: C, shape (classes, classes), which must not be singular.
        shares: μ, shape (classes,).
    """
    return np.linalg.solve(joint, shares).clip(min=0)


def rlls(joint: np.ndarray, shares: np.ndarray, samples: int) -> np.ndarray:
    """Weights w ≥ 0 that minimise ‖C w - μ‖ + α ρ ‖w - 1‖, shape (classes,).

    The paper's problem in θ = w - 1, since C has the source's shares of predictions as the sums of
    its rows. Both norms are convex, so the minimum is on the line of those that minimise the sum of
    squares ‖C w - μ‖² + κ ‖w - 1‖² for some κ, along which it is searched.

    Args:
        joint: C, shape (classes, classes).
        shares: μ, shape (classes,).
        samples: Source samples that C is counted from.
    """
    from scipy.optimize import minimize_scalar, nnls

    classes = len(shares)
    penalty = ALPHA * rlls_bound(classes, samples)

    def weights(log_kappa: float) -> np.ndarray:
        root = math.exp(log_kappa / 2)
        rows = np.vstack([joint, root * np.eye(classes)])
        return nnls(rows, np.concatenate([shares, np.full(classes, root)]))[0]

    def cost(log_kappa: float) -> float:
        found = weights(log_kappa)
        gap, size = np.linalg.norm(joint @ found - shares), np.linalg.norm(found - 1)
        return float(gap + penalty * size)

    grid = np.linspace(-40.0, 10.0, 101)
    best = grid[int(np.argmin([cost(each) for each in grid]))]
    step = float(grid[1] - grid[0])
    finer: Any = minimize_scalar(
        cost, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-6}
    )
    return weights(min((float(finer.x), float(best)), key=cost))


def rlls_bound(classes: int, samples: int) -> float:
    """ρ = 3 (2 ln(2k/δ) / (3n) + √(2 ln(2k/δ) / n)), as in the authors' code.

    Args:
        classes: k.
        samples: n, source samples.
    """
    log = 2 * math.log(2 * classes / DELTA)
    return 3 * (log / (3 * samples) + math.sqrt(log / samples))


def em(chances: np.ndarray, prior: np.ndarray, steps: int = 10_000) -> np.ndarray:
    """The prior q by expectation maximisation from q = p, shape (classes,).

    r[i, c] ∝ p(c | x_i) q_c / p_c, and q is the mean of r over samples, until no share changes by
    more than 1e-8.

    Args:
        chances: p(c | x) of test samples, float64 of shape (m, classes).
        prior: p, above 0, shape (classes,).
        steps: At most so many.
    """
    ratios, found = chances / prior, prior
    for _ in range(steps):
        parts = ratios * found
        before, found = found, (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(found - before).max() <= 1e-8:
            break
    return found
