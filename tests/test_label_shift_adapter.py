"""The label-shift adapter: its arithmetic by hand, a problem whose optimum is known, and runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from fedlab import rng
from fedlab.adaptation import adapter_training, prior_following
from fedlab.adaptation.adapt_test import adapt_test
from fedlab.adaptation.adapter_training import (
    Training,
    adjusted_loss,
    drawn_priors,
    ratios,
    train_adapter,
)
from fedlab.adaptation.client_features import ClientFeatures, client_features
from fedlab.adaptation.label_shift_adapter import HeadChange, LabelShiftAdapter, changed_layer
from fedlab.adaptation.prior_following import FLOOR
from fedlab.adaptation.trained import Trained, open_trained
from fedlab.errors import InputError
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.eval_mode import evaluation_mode
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy
from helpers.adapting import accuracy, finished, learnt_looks
from helpers.targets import scenario as of_target

pytestmark = pytest.mark.xdist_group("label_shift_adapter")

ADAPTER: dict[str, Any] = {"method": "label_shift_adapter"}


# ---------------------------------------------------------------------- arithmetic


def test_a_change_of_the_last_layer_by_hand() -> None:
    change = HeadChange(
        torch.tensor([2.0, 1.0]),
        torch.tensor([1.0, -1.0]),
        torch.tensor([[0.0, 0.0], [1.0, 0.0]]),
        torch.tensor([0.5, 0.0]),
    )
    weight, bias = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([0.0, 3.0])
    # h = (3, 4) becomes (7, 3); the first class has 7 + 6 + 0.5, the second 7 + 3 + 3.
    features = torch.tensor([[3.0, 4.0]])
    assert change.outputs(weight, bias, features).tolist() == [[13.5, 13.0]]
    folded = change.folded(weight, bias)
    assert linear(features, *folded).tolist() == [[13.5, 13.0]]


def test_an_adapter_that_has_not_learnt_changes_nothing() -> None:
    torch.manual_seed(0)
    adapter, layer = LabelShiftAdapter(3, 5, 7), nn.Linear(5, 3)
    change = adapter(torch.randn(3))
    assert [each.shape for each in change] == [(5,), (5,), (3, 5), (3,)]
    features = torch.randn(11, 5)
    assert torch.equal(change.outputs(layer.weight, layer.bias, features), layer(features))
    weight, bias = change.folded(layer.weight, layer.bias)
    assert torch.equal(weight, layer.weight)
    assert torch.equal(bias, layer.bias)
    assert adapter.change.weight.shape == (2 * 5 + 3 * 5 + 3, 7)
    with torch.no_grad():
        adapter.change.bias[10] = 10.0
    assert adapter(torch.randn(3)).weight[0].tolist() == [2, 0, 0, 0, 0]  # divided by features


def test_a_layer_has_the_last_change_within_the_context_alone() -> None:
    layer, features = nn.Linear(2, 2), torch.randn(4, 2)
    plain, zero = layer(features), torch.zeros(2)
    with changed_layer(layer) as changes:
        assert torch.equal(layer(features), plain)
        for step in (1.0, 2.0):
            changes.append(HeadChange(zero + 1, zero, torch.zeros(2, 2), zero + step))
            torch.testing.assert_close(layer(features), plain + step)
        with with_tensors(layer, {"weight": torch.eye(2), "bias": zero}):
            torch.testing.assert_close(layer(features), features + 2)
    assert torch.equal(layer(features), plain)


def test_the_loss_by_hand() -> None:
    # Adjusted by log(.5 / .8) and log(.5 / .2): chances .2 and .8.
    priors = torch.tensor([[0.8, 0.2], [0.5, 0.5]], dtype=torch.float64)
    for label, expected in ((0, math.log(5)), (1, math.log(1.25))):
        y = torch.tensor([label])
        loss = adjusted_loss(torch.zeros(1, 1, 2), y, priors[:1], priors[1])
        assert float(loss) == pytest.approx(expected)
        both = adjusted_loss(torch.zeros(2, 1, 2), y, priors, priors[1])
        assert float(both) == pytest.approx((expected + math.log(2)) / 2)


def test_a_class_without_samples_is_left_out_of_the_softmax() -> None:
    outputs = torch.tensor([[[1.0, 3.0, 2.0]]], requires_grad=True)
    priors = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    source = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    loss = adjusted_loss(outputs, torch.tensor([1]), priors, source)
    assert float(loss.detach()) == pytest.approx(math.log(1 + math.exp(-1)))
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.flatten()[0] == 0
    assert outputs.grad.isfinite().all()


def test_priors_are_drawn_between_the_reverse_and_the_trained_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    monkeypatch.setattr(adapter_training, "SPREAD", 0.0)
    degrees = []
    for prior in drawn_priors(source, 400, generator):
        logs = prior.log()
        own = (logs - logs[0])[1:] / (source.log() - source[0].log())[1:]
        assert own[0] == pytest.approx(float(own[1]))
        degrees.append(float(own[0]))
    assert -1 <= min(degrees) < -0.95
    assert 0.95 < max(degrees) <= 1
    assert np.mean(degrees) == pytest.approx(0, abs=0.08)
    monkeypatch.setattr(adapter_training, "SPREAD", 2.0)
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    logs = drawn_priors(uniform, 4000, generator).log()
    assert float(logs.exp().sum(dim=1).sub(1).abs().max()) < 1e-9
    assert float(logs.var(dim=1).mean()) == pytest.approx(4 / 3, rel=0.08)  # E s², s in [0, 2]


# ---------------------------------------------------------------------- a known optimum


def normal_pair(shares: tuple[int, int], client: int, *key: int) -> ClientFeatures:
    """Samples at -1 and at 1 with a deviation of 1, of one feature."""
    generator = torch.Generator().manual_seed(1000 * client + sum(key))
    labels = torch.tensor([0] * shares[0] + [1] * shares[1])
    features = 2.0 * labels[:, None] - 1 + torch.randn(len(labels), 1, generator=generator)
    return ClientFeatures(client, features, labels)


HALF_AS_SURE = torch.tensor([[-0.5], [0.5]]), torch.zeros(2)
"""A last layer whose logits differ by x; p(1 | x) / p(0 | x) is exp(2 x) for equal shares."""


def test_with_the_prior_given_the_boundary_is_that_of_bayes() -> None:
    """Of a network that is half as sure as it should be, whose ratio of chances is a wrong one.

    Bayes' boundary is where 2 x + log(π_1 / π_0) = 0; re-weighting its probabilities has it where
    x + log(π_1 / π_0) = 0, twice as far from 0. Clients have other shares than all have together.
    """
    clients = [normal_pair((1600, 400), 0), normal_pair((400, 1600), 1)]
    training = Training(rounds=120, lr=0.01, hidden=16, batch_size=500)
    found = train_adapter(clients, HALF_AS_SURE, training, seed=0)
    assert found.prior.tolist() == [0.5, 0.5]
    assert (found.clients, found.samples) == (2, 4000)
    at = torch.linspace(-2, 2, 41)[:, None]
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        prior = torch.tensor([1 - share, share], dtype=torch.float64)
        change = found.adapter(ratios(prior, found.prior))
        (low, high), (own, other) = change.folded(*HALF_AS_SURE)
        boundary = float((own - other) / (high - low))
        odds = math.log(share / (1 - share))
        assert boundary == pytest.approx(-odds / 2, abs=0.12)
        right = torch.sigmoid(2 * at[:, 0] + odds)
        chances = change.outputs(*HALF_AS_SURE, at).softmax(dim=1)[:, 1]
        assert float((chances - right).abs().max()) < 0.08


@pytest.mark.slow
def test_the_source_prior_is_that_of_all_samples() -> None:
    """Three of four samples are of the first class: for this prior, Bayes' boundary is theirs."""
    clients = [normal_pair((1500, 500), 0), normal_pair((1500, 500), 1)]
    training = Training(rounds=120, lr=0.01, hidden=16, batch_size=500)
    found = train_adapter(clients, HALF_AS_SURE, training, seed=0)
    assert found.prior.tolist() == [0.75, 0.25]
    for share in (0.25, 0.5, 0.75):
        prior = torch.tensor([1 - share, share], dtype=torch.float64)
        (low, high), (own, other) = found.adapter(ratios(prior, found.prior)).folded(*HALF_AS_SURE)
        boundary = float((own - other) / (high - low))
        assert boundary == pytest.approx(-math.log(share / (1 - share)) / 2, abs=0.15)


def test_adapters_are_averaged_by_samples() -> None:
    small, large = normal_pair((8, 8), 0), normal_pair((24, 24), 1)
    training = Training(rounds=1, epochs=2, batch_size=10)
    alone = [
        train_adapter([each], HALF_AS_SURE, training, seed=3).adapter.state_dict()
        for each in (small, large)
    ]
    both = train_adapter([small, large], HALF_AS_SURE, training, seed=3)
    for name, tensor in both.adapter.state_dict().items():
        torch.testing.assert_close(tensor, 0.25 * alone[0][name] + 0.75 * alone[1][name])
    again = train_adapter([small, large], HALF_AS_SURE, training, seed=3)
    for name, tensor in both.adapter.state_dict().items():
        assert torch.equal(tensor, again.adapter.state_dict()[name])
    numbers = 32 * (2 + 1) + (2 * 1 + 2 * 1 + 2) * (32 + 1)
    assert both.bytes == 4 * numbers + 2 * 8  # an adapter, and the counts of two classes
    twice = train_adapter([small, large], HALF_AS_SURE, training._replace(rounds=2), seed=3)
    assert twice.bytes == 2 * 4 * numbers + 2 * 8


# ---------------------------------------------------------------------- on runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learnt_looks(tmp_path_factory.mktemp("runs") / "run")


def logits(run: Run, domain: str) -> tuple[Tensor, Tensor]:
    """Outputs of the run's model for a domain's test samples, and its last layer's features."""
    trained = open_trained(run)
    data = trained.runtime.data
    rows = np.flatnonzero(data.test.domains == data.domain_names.index(domain))
    network = trained.runtime.trainer.task.model
    state, head = trained.model(None), trained.runtime.trainer.task.head
    with (
        torch.no_grad(),
        evaluation_mode(network),
        with_tensors(network, state),
        head.listen() as seen,
    ):
        outputs = network(trained.batch(data.test, rows)).float()
    return outputs, seen[0]


@pytest.mark.slow
def test_the_average_follows_predictions_of_the_runs_own_model(digits: Run) -> None:
    options = {"domain": "skewed", "momentum": 0.6, "batch_size": 20, "rounds": 3}
    found = adapt_test(digits, **ADAPTER, **options, seed=4)
    outputs, features = logits(digits, "skewed")
    chances = outputs.double().softmax(dim=1)
    order = rng.generator(4, "adapt-test", "skewed").permutation(len(chances))
    trained = open_trained(digits)
    model, own = trained.model(None), list(client_features(trained, trained.model(None)))
    head = tuple(model[name] for name in trained.runtime.trainer.task.head.names)
    learnt = train_adapter(own, head, Training(rounds=3), seed=4)  # type: ignore[arg-type]
    prior = learnt.prior
    for part in np.array_split(order, len(order) // 20):
        rows = torch.from_numpy(part)
        prior = 0.6 * prior + 0.4 * chances[rows].mean(dim=0)
        given = (1 - FLOOR) * prior + FLOOR * learnt.prior
        change = learnt.adapter(ratios(given, learnt.prior))
        expected = change.outputs(*head, features[rows])  # type: ignore[misc]
        torch.testing.assert_close(found.outputs["skewed"][rows], expected, rtol=1e-3, atol=1e-3)
    assert found.priors is not None
    assert found.priors.estimated.tolist() == pytest.approx(prior.tolist(), abs=1e-5)
    assert found.priors.source.tolist() == pytest.approx(learnt.prior.tolist())
    # The model that is left has the last change in its last layer.
    changed = {n for n, t in model.items() if not torch.equal(t, found.models["skewed"][n])}
    assert changed == set(trained.runtime.trainer.task.head.names)
    left = [found.models["skewed"][name] for name in trained.runtime.trainer.task.head.names]
    torch.testing.assert_close(linear(features[rows], *left), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_other_shares_of_classes_are_followed(digits: Run) -> None:
    found = adapt_test(digits, **ADAPTER, rounds=50, batch_size=10)
    scores = accuracy(found)
    assert scores.after["skewed"] >= scores.before["skewed"]
    own = found.priors
    assert own is not None
    own = own[own.domain == "skewed"]
    off = (own.estimated - own.true).abs().sum()
    assert off < 0.6 * (own.source - own.true).abs().sum()
    again = adapt_test(digits, **ADAPTER, rounds=50, batch_size=10, domain="skewed")
    assert torch.equal(again.outputs["skewed"], found.outputs["skewed"])  # begins anew
    assert "trained on 210 samples of 2 clients, each of which sends and" in found.source


@pytest.mark.slow_except("em")
@pytest.mark.parametrize("estimator", ["bbse", "em"])
def test_an_estimate_of_a_whole_domain_may_be_followed(digits: Run, estimator: Any) -> None:
    options = {"domain": "skewed", "estimator": estimator}
    found = adapt_test(digits, **ADAPTER, **options, rounds=2)
    other = adapt_test(digits, method="label_shift", **options)
    assert found.priors is not None
    assert other.priors is not None
    assert found.priors.estimated.tolist() == pytest.approx(other.priors.estimated.tolist())
    assert "; prior by 90 validation samples" in found.source
    if estimator == "em":  # which is calibrated by itself
        rough = {**options, "calibrate": False}
        plain = adapt_test(digits, **ADAPTER, **rough, rounds=1)
        same = adapt_test(digits, method="label_shift", **rough)
        assert plain.priors is not None
        assert same.priors is not None
        assert plain.priors.estimated.tolist() == pytest.approx(same.priors.estimated.tolist())
    # One change for all batches, so that their size makes no difference.
    whole = adapt_test(digits, **ADAPTER, **options, rounds=2, batch_size=0)
    torch.testing.assert_close(whole.outputs, found.outputs, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_it_goes_before_the_last_layer_of_an_adapted_network(digits: Run) -> None:
    plain = adapt_test(digits, **ADAPTER, domain="dim")
    for base in ("batch_statistics", "tent"):
        found = adapt_test(digits, **ADAPTER, base=base, domain="dim")
        alone = adapt_test(digits, method=base, batch_size=64, domain="dim")  # type: ignore[arg-type]
        head = open_trained(digits).runtime.trainer.task.head.names
        same = {n for n, t in alone.models["dim"].items() if torch.equal(t, found.models["dim"][n])}
        assert not same & set(head)
        statistics = {name for name in alone.models["dim"] if "running" in name}
        if base == "batch_statistics":
            assert alone.models["dim"].keys() - same == set(head)
        else:  # the entropy is that of other outputs
            assert not statistics <= same
        assert accuracy(found).after["dim"] > accuracy(plain).after["dim"] + 0.1


def test_test_labels_change_scores_alone(tmp_path: Path) -> None:
    runs = [
        finished(
            tmp_path / name,
            data={"sources": [{"name": f"helpers.toy:{name}"}], "image_size": 8},
            model={"name": "small_cnn", "widths": [4, 4, 6]},
            rounds=1,
        )
        for name in ("Stripes", "PoisonedTests")
    ]
    clean, wrong = (adapt_test(run, **ADAPTER, rounds=2, batch_size=1) for run in runs)
    assert clean.table.after.tolist() != wrong.table.after.tolist()
    for domain, outputs in clean.outputs.items():
        assert torch.equal(outputs, wrong.outputs[domain])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network has no normalisation, without validation samples."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finished(folder, model={"name": "mlp", "hidden": [4]}, rounds=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base": "tent"}, "--base: tent adapts scales and shifts .* use --base none"),
        ({"base": "batch_statistics"}, "--base: .* 'mlp' has none; use --base none, or"),
        ({"base": "magic"}, "--base: there is no 'magic'"),
        ({"estimator": "magic"}, "--estimator: there is no 'magic'; choose from ema, bbse"),
        ({"momentum": 1.5}, r"--momentum: 1\.5 must be between 0 and 1"),
        ({"rounds": 0}, "--rounds: 0 must be above 0"),
        ({"calibrate": True}, "--calibrate: ema takes predictions as they are; leave it out"),
        ({"estimator": "em", "calibrate": True}, "--calibrate: .* no validation samples"),
        ({"estimator": "em", "momentum": 0.1}, "--momentum: it is of the moving average, and em"),
        ({"lr": 1e30}, r"--lr: with 1e\+30 the adapter is no longer finite"),
        ({"base": "tent", "batch_size": 1}, "a batch of 1 has no statistics"),
    ],
)
def test_what_makes_no_sense_is_refused(plain: Run, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        adapt_test(plain, **ADAPTER, **options)


def test_an_estimator_refuses_before_the_adapter_is_trained(
    plain: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that predicts one class for all has no confusion matrix to invert."""
    monkeypatch.setattr(prior_following, "train_adapter", None)
    last = open_trained(plain).runtime.trainer.task.head.names[1]
    state = plain.model_state()
    state[last][0] += 1e4
    monkeypatch.setattr(Trained, "model", lambda *_: state)
    with pytest.raises(InputError, match=r"singular \(b, c, d is never predicted\)"):
        adapt_test(plain, **ADAPTER, estimator="bbse")


def test_an_option_of_the_adapter_is_refused_elsewhere(plain: Run) -> None:
    with pytest.raises(
        InputError, match=r"--lr: label_shift has no .* tent and label_shift_adapter"
    ):
        adapt_test(plain, method="label_shift", lr=0.1)
    with pytest.raises(InputError, match="--estimator: there is no 'ema'"):
        adapt_test(plain, method="label_shift", estimator="ema")


class Bare(nn.Sequential):
    """A network whose last layer has no biases."""

    def __init__(self, classes: int, *, behind: bool = False) -> None:
        last = nn.Linear(8, classes, bias=behind)
        super().__init__(nn.Flatten(), nn.Linear(3 * 64, 8), nn.ReLU(), last)
        if behind:
            self.append(nn.LogSoftmax(dim=1))


class OneClassLess(toy.Stripes):
    """Stripes without training samples of the last class."""

    name: str = "test_label_shift_adapter:OneClassLess"

    def _domain(self, index: int, context: Any) -> Any:
        whole = super()._domain(index, context)
        kept = whole.train_labels < toy.CLASSES - 1
        from dataclasses import replace

        inputs, labels = whole.train_inputs[kept], whole.train_labels[kept]
        return replace(whole, train_inputs=inputs, train_labels=labels)


@pytest.mark.slow_for("bags", "local", "class")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"model": {"name": "test_label_shift_adapter:Bare"}},
            "the last one of the run .* is without biases; use --method label_shift",
        ),
        (
            {"model": {"name": "test_label_shift_adapter:Bare", "behind": True}},
            "a last dense layer that gives the outputs, and the network of the run .* has none",
        ),
        ({"strategy": "fedbn"}, "fedbn, whose clients have local models"),
        (
            {"data": {"sources": [{"name": "test_label_shift_adapter:OneClassLess"}]}},
            "no source sample of d",
        ),
        (
            {"partition": {"clients": 3, "label_proportions": {"bag_size": 4}}},
            "an adapter is trained on labelled samples",
        ),
    ],
    ids=["bias", "head", "local", "class", "bags"],
)
def test_runs_that_do_not_go_with_it_are_refused(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    if "data" in fields:
        fields = {"data": {**fields["data"], "image_size": 8}}
    with pytest.raises(InputError, match=words):
        adapt_test(finished(tmp_path / "run", **fields, rounds=1), **ADAPTER)


@pytest.mark.parametrize("target", ["multi_label", "regression"])
def test_targets_that_are_no_class_are_refused(target: str, tmp_path: Path) -> None:
    run = simulate(of_target(target, rounds=1), out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=f"learns data.target '{target}'"):
        adapt_test(run, **ADAPTER)


@pytest.mark.slow
def test_the_command_shows_writes_and_draws(digits: Run, tmp_path: Path, run: Any) -> None:
    priors, picture = tmp_path / "priors.csv", tmp_path / "one.png"
    words = ["adapt-test", digits.folder, "--method", "label_shift_adapter", "--rounds", "2"]
    words += ["--epochs", "2", "--hidden", "4", "--momentum", "0.5", "--base", "tent"]
    code, said, _ = run(*words, "--priors", priors, "--picture", picture)
    assert code == 0
    assert "estimated / true" in said
    assert "adapter: trained on 210 samples of 2 clients" in said
    assert len(pandas.read_csv(priors)) == 30
    assert picture.stat().st_size > 5000
