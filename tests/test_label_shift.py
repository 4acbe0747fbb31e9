"""The class prior of a test set: by hand, by a grid, and by loops that share no code."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedlab.adaptation import label_shift
from fedlab.errors import InputError

# Ten source samples of each class; nine of the first and eight of the second are predicted rightly.
LABELS = np.repeat([0, 1], 10)
PREDICTIONS = np.array([0] * 9 + [1] + [0] * 2 + [1] * 8)
# Of priors (0.2, 0.8) such a network predicts the first class 0.2 x 0.9 + 0.8 x 0.2 = 0.34 times.
SHARES = np.array([0.34, 0.66])
NAMES = ("cat", "dog")


def sure(predictions: np.ndarray) -> np.ndarray:
    """Probabilities with these as the largest."""
    return np.eye(2)[predictions] * 0.6 + 0.2


def test_bbse_by_hand() -> None:
    joint = label_shift.confusion(PREDICTIONS, LABELS, 2)
    np.testing.assert_allclose(joint, [[0.45, 0.1], [0.05, 0.4]])
    np.testing.assert_allclose(label_shift.bbse(joint, SHARES), [0.4, 1.6])
    test = sure(np.repeat([0, 1], [34, 66]))
    prior = label_shift.estimate("bbse", sure(PREDICTIONS), LABELS, test, NAMES)
    np.testing.assert_allclose(prior.source, [0.5, 0.5])
    np.testing.assert_allclose(prior.test, [0.2, 0.8])
    np.testing.assert_allclose(prior.weights, [0.4, 1.6])


def test_bbse_takes_negative_weights_for_nothing_and_the_rest_is_a_prior() -> None:
    # 0.45 a + 0.1 b = 0.05 and 0.05 a + 0.4 b = 0.95: a = -3/7, b = 17/7.
    joint = label_shift.confusion(PREDICTIONS, LABELS, 2)
    np.testing.assert_allclose(label_shift.bbse(joint, np.array([0.05, 0.95])), [0, 17 / 7])
    test = sure(np.repeat([0, 1], [5, 95]))
    prior = label_shift.estimate("bbse", sure(PREDICTIONS), LABELS, test, NAMES)
    np.testing.assert_allclose(prior.test, [0, 1])


def test_the_source_prior_need_not_be_equal() -> None:
    """Four times as many samples of the first class: the same network, so the same estimate."""
    chances = np.concatenate([sure(PREDICTIONS), np.tile(sure(PREDICTIONS[:10]), (3, 1))])
    labels = np.concatenate([LABELS, np.zeros(30, np.int64)])
    test = sure(np.repeat([0, 1], [34, 66]))
    for estimator in ("bbse", "rlls"):
        prior = label_shift.estimate(estimator, chances, labels, test, NAMES)
        np.testing.assert_allclose(prior.source, [0.8, 0.2])
        np.testing.assert_allclose(prior.test, [0.2, 0.8], atol=1e-4)


def test_rlls_pulls_towards_the_source_as_far_as_a_grid_says() -> None:
    assert label_shift.rlls_bound(10, 10_000) == pytest.approx(0.105047, abs=1e-6)
    joint = 0.5 * np.array([[0.52, 0.48], [0.48, 0.52]])  # tells the classes hardly apart
    shares = np.array([0.505, 0.495])
    log = 2 * math.log(2 * 2 / 0.05)
    weight = 0.01 * 3 * (log / (3 * 10) + math.sqrt(log / 10))
    axis = np.linspace(0, 2, 401)
    w = np.stack(np.meshgrid(axis, axis), axis=-1)
    costs = np.linalg.norm(w @ joint.T - shares, axis=-1)
    costs += weight * np.linalg.norm(w - 1, axis=-1)
    found = label_shift.rlls(joint, shares, 10)
    cost = np.linalg.norm(joint @ found - shares) + weight * np.linalg.norm(found - 1)
    assert cost <= costs.min() + 1e-9
    np.testing.assert_allclose(found, w[np.unravel_index(costs.argmin(), costs.shape)], atol=0.01)
    exact = label_shift.bbse(joint, shares)
    assert np.linalg.norm(found - 1) < 0.9 * np.linalg.norm(exact - 1)
    # With many samples the penalty is too small to move a solution of the equations.
    np.testing.assert_allclose(label_shift.rlls(joint, shares, 10**7), exact, atol=1e-4)


def test_em_by_hand_and_against_loops() -> None:
    chances, prior = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0.5, 0.5])
    np.testing.assert_allclose(label_shift.em(chances, prior, steps=1), [0.6, 0.4])
    second = label_shift.em(chances, prior, steps=2)
    np.testing.assert_allclose(second, [0.661169, 0.338831], atol=1e-6)

    random = np.random.default_rng(0)
    chances, prior = random.dirichlet([0.4, 0.6, 0.8], size=60), np.array([0.5, 0.3, 0.2])
    q = list(prior)
    for _ in range(3000):
        sums = [0.0, 0.0, 0.0]
        for row in chances:
            scores = [row[c] * q[c] / prior[c] for c in range(3)]
            sums = [total + score / sum(scores) for total, score in zip(sums, scores, strict=True)]
        q = [total / len(chances) for total in sums]
    np.testing.assert_allclose(label_shift.em(chances, prior), q, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "predictions", "words"),
    [
        (LABELS * 0, PREDICTIONS, "no source sample of dog"),
        (LABELS, PREDICTIONS * 0, r"singular \(dog is never predicted\); use --estimator rlls"),
        (LABELS, np.tile([0, 1], 10), "singular .predictions do not separate all classes"),
    ],
)
def test_what_has_no_solution_is_refused(
    labels: np.ndarray, predictions: np.ndarray, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        label_shift.estimate("bbse", sure(predictions), labels, sure(PREDICTIONS), NAMES)


@pytest.mark.parametrize("estimator", ["rlls", "em"])
def test_others_do_without_the_inverse(estimator: label_shift.Estimator) -> None:
    prior = label_shift.estimate(estimator, sure(LABELS * 0), LABELS, sure(PREDICTIONS), NAMES)
    assert prior.test.sum() == pytest.approx(1)
