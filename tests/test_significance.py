"""Tests and ranks: by hand, by scipy, and by published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedlab.comparison.significance import (
    average_ranks,
    enough_pairs,
    holm,
    interquartile_mean,
    probability_of_improvement,
    sign_flip,
    stratified_bootstrap,
)


@pytest.mark.parametrize("count", [3, 5, 6])
def test_the_least_p_of_turned_signs(count: int) -> None:
    """All of one sign: only that, and its mirror image, lie as far away."""
    assert sign_flip([0.1 * (i + 1) for i in range(count)]) == 2 / 2**count


@pytest.mark.parametrize(("differences", "pairs"), [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9)])
def test_pairs_that_a_claim_takes(differences: int, pairs: int) -> None:
    """So many pairs, all of one sign, are below 5 % after Holm's correction; one less are not."""

    def least(count: int) -> float:
        return min(holm({str(k): sign_flip([1.0] * count) for k in range(differences)}).values())

    assert enough_pairs(differences) == pairs
    assert least(pairs) < 0.05 <= least(pairs - 1)


def test_turned_signs_by_hand() -> None:
    # Sums of ±1 ±2 ±3 as far from 0 as 1 + 2 - 3 = 0: all of them; as 1 - 2 + 3 = 2: 6 of 8.
    assert sign_flip([1, 2, -3]) == 1
    assert sign_flip([1, -2, 3]) == 6 / 8
    assert math.isnan(sign_flip([]))


def test_turned_signs_are_scipys_permutation_test() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 11)
    found = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(values.tolist()) == pytest.approx(found.pvalue)


def test_of_many_pairs_signs_are_drawn() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, 40)
    expected = stats.ttest_1samp(values, 0).pvalue
    assert sign_flip(values.tolist()) == pytest.approx(expected, abs=0.02)


def test_holm_by_hand() -> None:
    """3 · 0.01, then the larger of that and 2 · 0.02, then 1 · 0.04."""
    corrected = holm({"a": 0.04, "b": 0.01, "c": 0.02, "d": math.nan})
    assert corrected["b"] == pytest.approx(0.03)
    assert corrected["c"] == pytest.approx(0.04)
    assert corrected["a"] == pytest.approx(0.04)
    assert math.isnan(corrected["d"])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_improvement_counts_pairs_and_half_of_equals() -> None:
    assert probability_of_improvement([1, 2, 3], [2, 2]) == pytest.approx((2 + 0.5 * 2) / 6)


def test_the_interquartile_mean_is_scipys() -> None:
    values = np.random.default_rng(0).normal(size=13)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_bootstrap_keeps_every_task_and_repeats_itself() -> None:
    tasks = [[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]]
    found = stratified_bootstrap(tasks, np.mean)
    assert found.value == pytest.approx(0.5)
    assert 0.4 <= found.low < 0.5 < found.high <= 0.6  # each task gives three values, always
    assert found == stratified_bootstrap(tasks, np.mean)


def test_ranks_are_those_of_the_published_example() -> None:
    """Table 6 of Demšar 2006: four forms of C4.5 on 14 data sets.

    Two accuracies that are printed alike had different ranks there.
    """
    scores = np.array(
        [
            *([0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569]),
            *([0.954, 0.971, 0.968, 0.967], [0.628, 0.661, 0.654, 0.657]),
            *([0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931]),
            *([0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625]),
            *([0.775, 0.838, 0.866, 0.875], [1.000, 1.000, 1.000, 1.000]),
            *([0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669]),
            *([0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970]),
        ]
    )
    found = average_ranks(scores)
    assert found.mean == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.statistic == pytest.approx(9.28, abs=5e-3)
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)]
)
def test_critical_values_are_nemenyis(methods: int, q: float) -> None:
    scores = np.random.default_rng(0).normal(size=(6, methods))
    expected = q * math.sqrt(methods * (methods + 1) / 36)
    assert average_ranks(scores).critical == pytest.approx(expected, abs=2e-3)
