"""Metrics: what clients count adds up to what scikit-learn says of all samples together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fedlab.config.registry import BUILTIN, resolve
from fedlab.engine.execution.evaluation import counts_by_group
from fedlab.errors import InputError
from fedlab.metrics import Metric, SampleMean
from fedlab.metrics.metric_set import MetricSet, summed
from fedlab.metrics.score_histogram import order_of
from fedlab.metrics.spec import EvaluationSpec
from fedlab.preparation import prepare
from helpers import toy

NAMES = tuple(n for n in BUILTIN["metrics"] if "class" in resolve("metrics", n).targets)


def metric(name: str, **parameters: Any) -> Metric:
    """A built-in metric."""
    return resolve("metrics", name)(**parameters)


def value(of: Metric, outputs: torch.Tensor, labels: Sequence[int]) -> float:
    """Its figure for samples that are counted at once."""
    found = of.compute(of.count(outputs, torch.tensor(labels)))
    return found[of.title]


def sure_of(predicted: Sequence[int], classes: int) -> torch.Tensor:
    """Outputs that predict these classes."""
    return torch.eye(classes)[torch.tensor(predicted)]


def logits(chances: Any) -> torch.Tensor:
    """Outputs whose softmax these are."""
    return torch.tensor(chances).log()


# ---------------------------------------------------------------------- known values

LABELS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
PREDICTED = sure_of([0, 0, 0, 0, 0, 1, 1, 2, 2, 1], 3)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("accuracy", {}, 0.7),
        ("balanced_accuracy", {}, 0.611111),
        ("f1", {}, 0.603030),
        ("f1", {"average": "micro"}, 0.7),
        ("kappa", {}, 0.5),
        ("mcc", {}, 0.509133),
    ],
)
def test_known_values_of_a_confusion_matrix(
    name: str, parameters: dict[str, Any], expected: float
) -> None:
    assert value(metric(name, **parameters), PREDICTED, LABELS) == pytest.approx(expected, abs=1e-6)
    matrix = metric("confusion").count(PREDICTED, torch.tensor(LABELS))["matrix"]
    assert matrix.tolist() == [[5, 1, 0], [0, 1, 1], [0, 1, 1]]


def test_known_values_of_rankings() -> None:
    chances, labels = np.array([0.1, 0.4, 0.35, 0.8]), [0, 0, 1, 1]
    outputs = logits(np.stack([1 - chances, chances], axis=1))
    assert value(metric("auroc"), outputs, labels) == pytest.approx(0.75)
    assert value(metric("average_precision"), outputs, labels) == pytest.approx(0.833333, abs=1e-6)
    assert value(metric("auroc", bins=4, scale="probability"), outputs, labels) == 0.875
    three = [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]
    assert value(metric("auroc"), logits(three), [0, 1, 2, 1, 2]) == pytest.approx(
        0.861111, abs=1e-6
    )


def test_known_values_of_calibration() -> None:
    sure = np.array([0.95, 0.85, 0.55, 0.65, 0.75])
    outputs, labels = logits(np.stack([sure, 1 - sure], axis=1)), [0, 0, 1, 0, 1]
    assert value(metric("ece", bins=5), outputs, labels) == pytest.approx(0.23, abs=1e-6)
    assert value(metric("ece", bins=10), outputs, labels) == pytest.approx(0.37, abs=1e-6)
    chances = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]
    assert value(metric("brier"), logits(chances), [0, 2]) == pytest.approx(0.5, abs=1e-6)


def test_the_area_of_all_clients_is_no_mean_of_theirs() -> None:
    first, second = (logits([[1 - a, a], [1 - b, b]]) for a, b in ((0.1, 0.2), (0.6, 0.9)))
    auroc, labels = metric("auroc"), torch.tensor([0, 1])
    counts = [auroc.count(outputs, labels) for outputs in (first, second)]
    assert [auroc.compute(each)["auroc"] for each in counts] == [1.0, 1.0]
    assert auroc.compute(summed(counts))["auroc"] == 0.75


# ---------------------------------------------------------------------- scikit-learn


class Samples:
    """Outputs, labels, and the client of each sample."""

    def __init__(self, seed: int, classes: int, count: int, clients: int) -> None:
        generator = np.random.default_rng(seed)
        used = generator.permutation(classes)[: generator.integers(1, classes + 1)]
        self.labels = generator.choice(used, count)
        scores = generator.normal(size=(count, classes)) + np.eye(classes)[self.labels]
        self.outputs = torch.tensor(scores * generator.choice([0.5, 3.0]), dtype=torch.float32)
        self.owners = generator.integers(0, clients, count)
        self.chances = torch.softmax(self.outputs.double(), dim=1).numpy()
        self.predicted = self.outputs.argmax(dim=1).numpy()

    def figure(self, of: Metric) -> dict[str, float]:
        """What follows from the sum of the clients' counts."""
        labels, owners = torch.tensor(self.labels), torch.tensor(self.owners)
        groups = counts_by_group([of], self.outputs, labels, owners)
        return of.compute(summed([each[of.title] for each in groups.values()]))


SPLITS = st.builds(
    Samples, st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 80), st.integers(1, 9)
)


@settings(max_examples=60, deadline=None)
@given(SPLITS)
def test_any_split_into_clients_adds_up_to_what_scikit_learn_says(samples: Samples) -> None:
    labels, predicted = samples.labels, samples.predicted
    classes = samples.outputs.shape[1]
    expected = {
        "accuracy": oracle.accuracy_score(labels, predicted),
        "f1": oracle.f1_score(labels, predicted, average="macro", zero_division=0),
        "nll": oracle.log_loss(labels, samples.chances, labels=range(classes)),
        "loss": oracle.log_loss(labels, samples.chances, labels=range(classes)),
        "brier": np.square(samples.chances - np.eye(classes)[labels]).sum(axis=1).mean(),
        "balanced_accuracy": np.mean(
            oracle.recall_score(labels, predicted, labels=np.unique(labels), average=None)
        ),
    }
    for name, number in expected.items():
        assert samples.figure(metric(name))[name] == pytest.approx(number, abs=1e-6), name
    for average in ("micro", "weighted"):
        found = samples.figure(metric("f1", average=average))[f"f1_{average}"]
        right = oracle.f1_score(labels, predicted, average=average, zero_division=0)
        assert found == pytest.approx(right)
    if classes > 3:
        found = samples.figure(metric("top_k", k=3))["top_3"]
        right = oracle.top_k_accuracy_score(labels, samples.chances, k=3, labels=range(classes))
        assert found == pytest.approx(right)
    several = len(np.unique(labels)) > 1 and len(np.unique(predicted)) > 1
    mcc = samples.figure(metric("mcc"))["mcc"]
    assert math.isnan(mcc) != several
    if several:
        assert mcc == pytest.approx(oracle.matthews_corrcoef(labels, predicted))
        kappa = samples.figure(metric("kappa"))["kappa"]
        assert kappa == pytest.approx(oracle.cohen_kappa_score(labels, predicted))
    recalls = list(samples.figure(metric("recall")).values())
    every = range(classes)
    right = oracle.recall_score(labels, predicted, labels=every, average=None, zero_division=np.nan)
    assert recalls == pytest.approx(list(right), nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(SPLITS, st.sampled_from([2, 20, 1000]), st.sampled_from(["log_odds", "probability"]))
def test_rankings_are_as_close_to_scikit_learn_as_they_say(
    samples: Samples, bins: int, scale: str
) -> None:
    classes = samples.outputs.shape[1]
    binary = np.eye(classes)[samples.labels]
    chosen = [k for k in ([1] if classes == 2 else range(classes)) if 0 < binary[:, k].mean() < 1]
    for name, exact in (
        ("auroc", oracle.roc_auc_score),
        ("average_precision", oracle.average_precision_score),
    ):
        of = metric(name, bins=bins, scale=scale)
        found = samples.figure(of)
        if not chosen:
            assert math.isnan(found[of.title])
            continue
        right = np.mean([exact(binary[:, k], samples.chances[:, k]) for k in chosen])
        assert abs(found[of.title] - right) <= found[f"{of.title}_error"] + 1e-9
        assert 0 <= found[of.title] <= 1 + 1e-12


@settings(max_examples=40, deadline=None)
@given(SPLITS)
def test_in_float16_rankings_are_those_of_scikit_learn_for_the_rounded_scores(
    samples: Samples,
) -> None:
    classes = samples.outputs.shape[1]
    binary = np.eye(classes)[samples.labels]
    chosen = [k for k in ([1] if classes == 2 else range(classes)) if 0 < binary[:, k].mean() < 1]
    log_chance = torch.log_softmax(samples.outputs.double(), dim=-1)
    log_odds = (log_chance - torch.log(-torch.expm1(log_chance))).half().double()
    scores = log_odds.clamp(-1e6, 1e6).numpy()  # scikit-learn takes no infinite ones
    for name, exact in (
        ("auroc", oracle.roc_auc_score),
        ("average_precision", oracle.average_precision_score),
    ):
        of = metric(name, scale="float16")
        found = samples.figure(of)
        if chosen:
            right = np.mean([exact(binary[:, k], scores[:, k]) for k in chosen])
            assert found[of.title] == pytest.approx(right, abs=1e-12)


def test_float16_numbers_are_in_order_and_both_zeros_are_one() -> None:
    values = [-math.inf, -65504.0, -1.0, -1e-7, -0.0, 0.0, 1e-7, 1.0, 65504.0, math.inf]
    places = order_of(torch.tensor(values, dtype=torch.float16)).tolist()
    assert places == sorted(places)
    assert places[4] == places[5] == 2**15
    assert len(set(places)) == len(places) - 1
    assert min(places) >= 0
    assert max(places) < 2**16
    with pytest.raises(ValueError, match="bins 10 does not go with scale float16"):
        metric("auroc", scale="float16", bins=10)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "confusion"])
def test_no_figure_of_nothing_is_a_number(name: str) -> None:
    of = metric(name)
    counts = of.count(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))
    assert all(math.isnan(number) for number in of.compute(counts).values())


@pytest.mark.parametrize("name", ["auroc", "average_precision", "mcc", "kappa"])
def test_a_client_of_one_class_has_no_figure_that_needs_two(name: str) -> None:
    assert math.isnan(value(metric(name), sure_of([1, 1, 1], 3), [1, 1, 1]))


def test_outputs_that_are_no_numbers_have_no_rank_and_no_calibration() -> None:
    outputs = torch.tensor([[0.0, 1.0], [torch.nan, 0.0]])
    for name in ("auroc", "average_precision", "ece", "brier", "nll"):
        assert math.isnan(value(metric(name), outputs, [0, 1])), name


def test_guesses_that_tie_with_the_label_count_before_it() -> None:
    assert value(metric("top_k", k=2), torch.zeros(1, 3), [0]) == 0.0
    assert value(metric("top_k", k=2), torch.tensor([[1.0, 1.0, 0.0]]), [0]) == 1.0


# ---------------------------------------------------------------------- what may be chosen


def chosen(*metrics: Any) -> MetricSet:
    return MetricSet(EvaluationSpec(metrics=metrics).metrics)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["acuracy"], "did you mean 'accuracy'"),
        (["confusion", "accuracy"], "the first metric is the one in tables and curves"),
        ([], "the first metric is the one in tables and curves"),
        (["f1", {"name": "f1", "average": "macro"}], "'f1' is there twice"),
        ([{"name": "ece", "bins": 0}], "greater than 0|bins"),
    ],
)
def test_metrics_that_cannot_be_meant_are_refused(metrics: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chosen(*metrics)


def test_one_metric_needs_no_list() -> None:
    assert MetricSet(EvaluationSpec(metrics="f1").metrics).first.name == "f1"  # type: ignore[arg-type]


def test_a_metric_that_does_not_go_with_the_task_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="top_k with k=5 is 1 for any model"):
        prepare(toy.scenario(evaluation={"metrics": ["accuracy", "top_k"]}))
    with pytest.raises(InputError, match="auroc ranks samples"):
        chosen("accuracy", "auroc").check(classes=1)
    chosen(*(name for name in NAMES if name != "top_k")).check(classes=2)


class Margin(SampleMean):
    """How far the label's output is ahead, on average."""

    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = outputs.gather(1, labels[:, None]).squeeze(1)
        return own - outputs.mean(dim=1)


class Bare(Metric):
    """Counts in single precision."""

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": outputs.sum()}

    def compute(self, counts: dict[str, torch.Tensor]) -> dict[str, float]:
        return {self.title: float(counts["total"])}


class Failing(Bare):
    """Cannot count."""

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        raise KeyError("weights")


@pytest.mark.parametrize(
    ("own", "words"),
    [(Bare, "must count int64 or float64"), (Failing, "fails on two samples.*mend the metric")],
)
def test_a_users_metric_is_tried_first(own: type, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chosen("accuracy", own).check(classes=3)


def test_a_users_metric_is_one_class(tmp_path: Path) -> None:
    import fedlab

    scenario = toy.scenario(rounds=1, evaluation={"metrics": ["accuracy", Margin]})
    run = fedlab.simulate(scenario, out=tmp_path / "run", progress=False)
    rows = run.history[(run.history["metric"] == "Margin") & (run.history["client"] >= 0)]
    assert len(rows) == 3
    assert rows["value"].notna().all()


def test_log_odds_of_sure_networks_keep_their_order() -> None:
    """A lead of more than 36 rounds its probability to 1, and so would tie with larger ones."""
    margins = torch.tensor([60.0, 50.0, 45.0, 40.0, 5.0, -5.0])
    labels = torch.tensor([1, 1, 0, 0, 0, 0])
    metric = resolve("metrics", "auroc")(scale="float16")
    for logits in (torch.stack([0 * margins, margins], 1), torch.stack([-margins, 0 * margins], 1)):
        assert metric.compute(metric.count(logits, labels))[metric.title] == 1


def test_a_copy_of_a_metric_has_the_title_of_its_own_parameters() -> None:
    metric = resolve("metrics", "top_k")(k=5)
    assert metric.title == "top_5"
    assert metric.model_copy(update={"k": 3}).title == "top_3"
    assert metric.model_copy().title == "top_5"
