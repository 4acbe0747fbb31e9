"""Calibration of logits by a temperature and a bias for each class.

On Calibration of Modern Neural Networks, Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv 1706.04599,
section 4.2: softmax(z / T). Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at
Label Shift Adaptation, Alexandari, Kundaje, Shrikumar, ICML 2020, arXiv 1901.06852:
softmax(z / T + b), after which the mean probability of a class is its share of the samples that it
was fitted on. Both minimise the negative log-likelihood, by L-BFGS on log T (and b) in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlab.errors import InputError

FARTHEST = 20.0
"""Largest distance of log T and b from where they began; beyond it, they have no best values."""


class Calibration(NamedTuple):
    """Logits to probabilities: a temperature and a bias for each class.

    Attributes:
        temperature: T.
        biases: b, float64 of shape (classes,).
    """

    temperature: float
    biases: Tensor

    def logs(self, outputs: Tensor) -> Tensor:
        """Logarithms of p(class | x), float64 of shape (n, classes)."""
        return (outputs.double() / self.temperature + self.biases).log_softmax(dim=1)

    @classmethod
    def none(cls, classes: int) -> Calibration:
        """The identity: the plain softmax."""
        return cls(1.0, torch.zeros(classes, dtype=torch.float64))


def fit_temperature(outputs: Tensor, labels: Tensor) -> float:
    """T > 0 that minimises the mean of -log softmax(outputs / T)[label].

    The loss is convex in 1/T, with a minimum inside unless the labels have the largest outputs
    everywhere (the smaller T, the better) or outputs no larger than others on average (the larger
    T, the better).

    Args:
        outputs: Logits of shape (n, classes).
        labels: int64 of shape (n,).

    Raises:
        InputError: If there is no such minimum.
    """
    outputs = outputs.double()
    own = outputs.gather(1, labels[:, None]).squeeze(1)
    if own.mean() <= outputs.mean():
        raise InputError(
            f"temperature: on {len(labels)} validation samples the network is no better than "
            "guessing, so that none is best; train it longer"
        )
    if bool((own >= outputs.amax(dim=1)).all()):
        raise InputError(
            f"temperature: all of {len(labels)} validation samples are classified rightly, so that "
            "the smaller, the better; set more samples aside (evaluation.validation)"
        )
    return _fit(outputs.numpy(), labels.numpy(), biased=False).temperature


def fit_biased(outputs: Tensor, labels: Tensor) -> Calibration:
    """T and b that minimise the mean of -log softmax(outputs / T + b)[label].

    Args:
        outputs: Logits of shape (n, classes).
        labels: int64 of shape (n,); every class occurs.

    Raises:
        InputError: If there is no minimum, as biases and a small T make all samples right.
    """
    fit_temperature(outputs, labels)
    return _fit(outputs.double().numpy(), labels.numpy(), biased=True)


def _fit(outputs: np.ndarray, labels: np.ndarray, *, biased: bool) -> Calibration:
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    samples, classes = outputs.shape
    scale = float((outputs - outputs.mean(axis=1, keepdims=True)).std())
    outputs = outputs / scale  # so that the search begins near for logits of any size
    rows = np.arange(samples)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss at (log T, b), and its gradient."""
        inverse = np.exp(-at[0])
        logs = log_softmax(inverse * outputs + (at[1:] if biased else 0.0), axis=1)
        gaps = np.exp(logs)
        gaps[rows, labels] -= 1
        gaps /= samples
        slope = -inverse * (gaps * outputs).sum()
        gradient = np.array([slope, *gaps.sum(axis=0)]) if biased else np.array([slope])
        return -float(logs[rows, labels].mean()), gradient

    start = np.zeros(1 + classes * biased)
    options = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9}
    found: np.ndarray = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    if np.abs(found).max() > FARTHEST:
        raise InputError(
            f"temperature: {samples} validation samples are too few for a temperature and "
            f"{classes} biases, which make all of them right; set more samples aside "
            "(evaluation.validation)"
        )
    biases = torch.from_numpy(found[1:] - found[1:].mean()) if biased else torch.zeros(classes)
    return Calibration(scale * float(np.exp(found[0])), biases.double())
