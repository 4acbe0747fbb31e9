"""Confident learning: which labels are probably wrong, judged by out-of-sample predictions.

Confident Learning: Estimating Uncertainty in Dataset Labels, Northcutt, Jiang, Chuang, JAIR 2021,
arXiv 1911.00068. In a federation the thresholds are those of all clients together: each sends, for
every class, how many samples carry that label and the sum of their predicted chances for it.
"""

from __future__ import annotations

import numpy as np


def threshold_sums(chances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A client's message: the number of samples of each label, and the sum of p(label | x).

    Args:
        chances: Out-of-sample p(class | x), shape (n, classes).
        labels: Given labels, int64 of shape (n,).

    Returns:
        Two arrays of shape (classes,).
    """
    classes = chances.shape[1]
    own = chances[np.arange(len(labels)), labels]
    return np.bincount(labels, minlength=classes), np.bincount(labels, own, minlength=classes)


def thresholds(counts: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """t_j, the mean probability of class j over samples labelled j; infinite where there are none.

    Args:
        counts: Samples with each label, of all clients together, shape (classes,).
        sums: Sums of their chances, shape (classes,).
    """
    return np.divide(sums, counts, out=np.full(len(sums), np.inf), where=counts > 0)


def suggested_labels(chances: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The class that a sample confidently is, or -1: the likeliest of those that reach t_j.

    Args:
        chances: Shape (n, classes).
        limits: The thresholds t_j, shape (classes,).

    Returns:
        int64 of shape (n,).
    """
    confident = chances >= limits
    best = np.where(confident, chances, -1.0).argmax(axis=1)
    return np.where(confident.any(axis=1), best, -1)


def confident_joint(suggested: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """C[i, j]: number of samples labelled i and confidently of class j, (classes, classes).

    Args:
        suggested: What `suggested_labels` returns.
        labels: Given labels.
        classes: Number of classes.
    """
    sure = suggested >= 0
    pairs = labels[sure] * classes + suggested[sure]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def calibrated_joint(joint: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Q, the estimated joint distribution of given and true labels; it sums to 1.

    Rows of the confident joint are scaled to the number of samples with that label; a label that
    is never confident is taken to be right.

    Args:
        joint: C, shape (classes, classes).
        counts: Samples with each label, shape (classes,).
    """
    rows = joint.sum(axis=1, keepdims=True)
    shares = np.divide(joint, rows, out=np.eye(len(joint)), where=rows > 0)
    scaled = shares * counts[:, None]
    return scaled / scaled.sum()
