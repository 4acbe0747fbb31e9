"""Metrics of labels and of numbers: scikit-learn on all samples, for any split into clients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fedlab.metrics.base import Metric
from fedlab.metrics.metric_set import summed
from fedlab.targets.multi_label import MultiLabel
from fedlab.targets.regression import Regression


def figures(
    name: str | dict[str, Any],
    outputs: np.ndarray,
    labels: np.ndarray,
    cuts: list[int],
    target: Any = None,
) -> dict[str, float]:
    """What a metric makes of samples that are divided among clients."""
    metric = Metric.choose(name)
    counting = metric if target is None else metric.on(target)
    parts = zip(np.split(outputs, cuts), np.split(labels, cuts), strict=True)
    counts = [counting.count(torch.from_numpy(o), torch.from_numpy(y)) for o, y in parts]
    return metric.compute(summed(counts))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40), st.lists(st.integers(0, 40), max_size=3))
def test_labels_are_judged_as_scikit_learn_does(seed: int, count: int, cuts: list[int]) -> None:
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(count, 3)).astype(np.float32)
    labels = (generator.random((count, 3)) < [0.5, 0.2, 0.8]).astype(np.uint8)
    cuts = sorted(cuts)
    found = outputs > 0
    expected = {
        "hamming_accuracy": 1 - sk.hamming_loss(labels, found),
        "subset_accuracy": sk.accuracy_score(labels, found),
    }
    for name, value in expected.items():
        assert figures(name, outputs, labels, cuts)[name] == pytest.approx(value)
    f1 = sk.f1_score(labels, found, average=None, zero_division=np.nan)
    defined = ~np.isnan(f1)
    got = figures("label_f1", outputs, labels, cuts)["label_f1"]
    assert got == pytest.approx(f1[defined].mean() if defined.any() else math.nan, nan_ok=True)
    each = figures("each_label_f1", outputs, labels, cuts)
    assert list(each.values()) == pytest.approx(f1.tolist(), nan_ok=True)
    if labels.any() or found.any():
        micro = figures({"name": "label_f1", "average": "micro"}, outputs, labels, cuts)
        assert micro["label_f1_micro"] == pytest.approx(sk.f1_score(labels, found, average="micro"))
    two = [k for k in range(3) if 0 < labels[:, k].sum() < count]
    for name, judge in (
        ("auroc", sk.roc_auc_score),
        ("average_precision", sk.average_precision_score),
    ):
        of = figures({"name": name, "bins": 100_000}, outputs, labels, cuts)
        values = [judge(labels[:, k], outputs[:, k]) for k in two]
        title = next(iter(of))
        wanted = np.mean(values) if two else math.nan
        assert abs(of[title] - wanted) <= of[f"{title}_error"] + 1e-9 or not two


def test_a_threshold_is_a_probability() -> None:
    outputs = np.array([[1.0], [2.0], [-1.0]], np.float32)
    labels = np.array([[1], [1], [1]], np.uint8)
    got = figures({"name": "label_f1", "threshold": 0.8}, outputs, labels, [])
    assert got["label_f1_0.8"] == pytest.approx(0.5)  # σ(2) = 0.88 alone is above: 2 / (2 + 2)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(3, 40),
    st.lists(st.integers(0, 40), max_size=3),
    st.sampled_from([0.0, 1e3, 1e9]),
)
def test_numbers_are_judged_as_scikit_learn_does(
    seed: int, count: int, cuts: list[int], far: float
) -> None:
    generator = np.random.default_rng(seed)
    labels = far + generator.normal(size=(count, 2)) * [1.0, 50.0]
    outputs = labels + generator.normal(size=(count, 2)) * [0.5, 60.0]
    target = Regression().fitted(labels + generator.normal(size=(1, 2)))
    cuts = sorted(cuts)
    got: dict[str, float] = {}
    for name in ("mae", "mse", "rmse", "r2", "each_mae", "each_r2"):
        got |= figures(name, outputs, labels, cuts, target)
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(labels, outputs))
    assert got["mse"] == pytest.approx(sk.mean_squared_error(labels, outputs))
    assert got["rmse"] == pytest.approx(sk.root_mean_squared_error(labels, outputs))
    r2 = sk.r2_score(labels, outputs, multioutput="raw_values")
    assert [got["each_r2[0]"], got["each_r2[1]"]] == pytest.approx(r2.tolist(), rel=1e-6)
    assert got["r2"] == pytest.approx(r2.mean(), rel=1e-6)
    absolute = sk.mean_absolute_error(labels, outputs, multioutput="raw_values")
    assert [got["each_mae[0]"], got["each_mae[1]"]] == pytest.approx(absolute.tolist())


def test_no_variance_is_no_r2() -> None:
    labels = np.full((5, 1), 3.7)
    target = Regression(mean=(1e3,), std=(1.0,))
    assert math.isnan(figures("r2", labels + 1, labels, [2], target)["r2"])
    assert math.isnan(figures("r2", labels[:1], labels[:1], [], target)["r2"])


def test_a_default_score_is_the_metric_of_its_name() -> None:
    generator = np.random.default_rng(0)
    outputs = torch.from_numpy(generator.normal(size=(20, 2)).astype(np.float32))
    for target, labels in (
        (MultiLabel(), torch.from_numpy((generator.random((20, 2)) < 0.4).astype(np.uint8))),
        (
            Regression(mean=(5.0, 7.0), std=(2.0, 3.0)),
            torch.from_numpy(generator.normal(size=(20, 2)) * [2, 3] + [5, 7]),
        ),
    ):
        metric = Metric.choose(target.score)
        figure = metric.compute(metric.count(target.readable(outputs), labels))[target.score]
        score = target.scores(outputs, target.to_learn(labels)).double().mean()
        assert figure == pytest.approx(float(score), rel=1e-6)
