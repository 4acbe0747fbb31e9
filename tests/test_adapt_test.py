"""Adaptation to test samples: statistics, entropy and priors; labels are for scores alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from fedlab.adaptation.adapt_test import adapt_test
from fedlab.adaptation.batch_statistics import adapt_statistics
from fedlab.adaptation.tent import entropy, tent
from fedlab.adaptation.trained import open_trained
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy
from helpers.adapting import accuracy, finished, learnt_looks
from helpers.targets import scenario as of_target

pytestmark = pytest.mark.xdist_group("adapt_test")  # what is made for all of them is made once


# ------------------------------------------------------------------ against plain PyTorch


def test_statistics_are_mixed_and_kept_by_hand() -> None:
    layer = nn.BatchNorm1d(1, eps=0)
    state = {**layer.state_dict(), "weight": torch.tensor([2.0]), "bias": torch.tensor([5.0])}
    batch = torch.tensor([[1.0], [5.0]])  # mean 3, variance 4; stored are 0 and 1
    found = adapt_statistics(layer, state, [batch], 0.25)
    assert found.model["running_mean"].tolist() == [0.75]
    assert found.model["running_var"].tolist() == [1.75]
    expected = 2 * (batch - 0.75) / 1.75**0.5 + 5
    torch.testing.assert_close(found.outputs, expected)
    assert layer.running_mean is not None
    assert layer.running_mean.tolist() == [0]  # the network itself is as it was
    still = adapt_statistics(layer, state, [batch], 0.0)
    torch.testing.assert_close(still.outputs, 2 * batch + 5)
    assert still.model["running_mean"].tolist() == [0]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 16, 6),
        nn.BatchNorm1d(6),
        nn.Dropout(0.5),
        nn.LayerNorm(6),
        nn.Linear(6, 3),
    ).double()


def test_tent_is_adam_on_the_entropy_of_batches_in_training_mode() -> None:
    assert float(entropy(torch.tensor([[0.7, 0.3]]).log())) == pytest.approx(0.610864, abs=1e-6)
    model = network()
    before = copy.deepcopy(model.state_dict())
    batches = list(torch.randn(4, 12, 1, 6, 6, dtype=torch.float64))
    found = tent(model, dict(model.state_dict()), batches, lr=0.02, steps=2)

    plain = copy.deepcopy(model).train()
    plain[6].eval()  # dropout
    norms = [layer for layer in plain if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)]
    for layer in norms:
        layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    affine = [p for layer in (*norms, plain[7]) for p in layer.parameters()]
    optimizer = torch.optim.Adam(affine, lr=0.02)
    outputs, logits = [], torch.empty(0)
    for batch in batches:
        for _ in range(2):
            logits = plain(batch)
            p = logits.softmax(dim=1)
            loss = -(p * p.log()).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outputs.append(logits.detach())  # those before the last step
    torch.testing.assert_close(found.outputs.double(), torch.cat(outputs), rtol=1e-4, atol=1e-5)
    adapted = {name for name in before if not torch.equal(before[name], found.model[name])}
    stored = {f"{place}.running_{which}" for place in (1, 5) for which in ("mean", "var")}
    learnt = {f"{place}.{which}" for place in (1, 5, 7) for which in ("weight", "bias")}
    assert adapted == stored | learnt
    for name in learnt:
        torch.testing.assert_close(found.model[name], plain.state_dict()[name])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


# ------------------------------------------------------------------ on runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learnt_looks(tmp_path_factory.mktemp("runs") / "run")


@pytest.mark.slow_except("tent")
@pytest.mark.parametrize("method", ["batch_statistics", "tent"])
def test_a_domain_of_another_look_gains(digits: Run, method: Any) -> None:
    found = adapt_test(digits, method=method)
    scores = accuracy(found)
    assert scores.after["dim"] > scores.before["dim"] + 0.2
    assert scores.after["handwritten"] > scores.before["handwritten"] - 0.1
    last = digits.history.query("client == -1 and split == 'test' and metric == 'accuracy'")
    tested = last.set_index("domain").value
    assert scores.before.to_dict() == pytest.approx(tested.to_dict(), abs=0.005)
    assert set(found.table.metric) == {"accuracy", "loss"}
    for column in ("before", "after"):
        losses = found.table[found.table.metric == "loss"][column]
        assert losses.between(0.01, 5).all()
    again = adapt_test(digits, method=method, domain="dim")
    assert list(again.models) == ["dim"]
    torch.testing.assert_close(again.outputs["dim"], found.outputs["dim"], rtol=0, atol=0)


@pytest.mark.slow
def test_a_domain_that_is_one_batch_leaves_a_model_that_gives_the_same(digits: Run) -> None:
    whole = adapt_test(digits, alpha=0.7, domain="dim")
    program = digits.model()
    network = next(each for each in program.modules() if isinstance(each, nn.Sequential))
    network.load_state_dict(whole.models["dim"])
    pool = prepare(digits.scenario).data.test
    with torch.no_grad():
        outputs = program(torch.from_numpy(pool.inputs[pool.domains == 1]))
    torch.testing.assert_close(outputs, whole.outputs["dim"], rtol=1e-3, atol=1e-3)
    parts = adapt_test(digits, alpha=0.7, batch_size=20, domain="dim")
    assert (parts.outputs["dim"] - whole.outputs["dim"]).abs().max() > 0.1


def test_other_shares_of_classes_are_found_and_heeded(digits: Run) -> None:
    model, pool = digits.model(), prepare(digits.scenario).data.test
    with torch.no_grad():
        logits = model(torch.from_numpy(pool.inputs[pool.domains == 2])).double()
    for estimator in ("bbse", "rlls", "em"):
        found = adapt_test(digits, method="label_shift", estimator=estimator, domain="skewed")
        own = found.priors
        assert own is not None
        off = (own.estimated - own.true).abs().sum()
        assert off < 0.5 * (own.source - own.true).abs().sum()
        assert own.estimated.sum() == pytest.approx(1)
        assert own.weight.tolist() == pytest.approx((own.estimated / own.source).tolist())
        assert own.true[own["class"].astype(int) < 3].sum() > 0.7
        scores = accuracy(found)
        assert scores.after["skewed"] > scores.before["skewed"]
        assert "validation samples of the clients that trained" in found.source
        assert ("and biases fitted" in found.source) == (estimator == "em")
        if estimator != "em":
            heeded = logits.softmax(dim=1) * torch.tensor(own.weight.tolist())
            heeded /= heeded.sum(dim=1, keepdim=True)
            after = found.outputs["skewed"].double().softmax(dim=1)
            torch.testing.assert_close(after, heeded, rtol=1e-3, atol=1e-4)


class Unequal(toy.Stripes):
    """Stripes of one look; four times as many training samples of the last class as of another."""

    name: str = "test_adapt_test:Unequal"
    domains: int = 1
    train: int = 160

    def _domain(self, index: int, context: LoadContext) -> Domain:
        whole = super()._domain(index, context)
        kept = (whole.train_labels == toy.CLASSES - 1) | (np.arange(self.train) < self.train // 4)
        inputs, labels = whole.train_inputs[kept], whole.train_labels[kept]
        return replace(whole, train_inputs=inputs, train_labels=labels)


def test_shares_count_against_those_that_the_model_has_learnt(tmp_path: Path) -> None:
    """Where these are not all the same, the ratio q / p is another thing than q."""
    data = {"sources": [{"name": "test_adapt_test:Unequal"}], "image_size": 8}
    model = {"name": "small_cnn", "widths": [8, 8, 8]}
    training = {"local_epochs": 5, "batch_size": 8, "optimizer": {"lr": 0.05}}
    run = finished(tmp_path / "run", data=data, model=model, training=training)
    found = adapt_test(run, method="label_shift", estimator="em")
    own = found.priors
    assert own is not None
    assert own.source.tolist() == pytest.approx([1 / 7, 1 / 7, 1 / 7, 4 / 7])
    assert own.weight.max() > 2 * own.weight.min()
    program, pool = run.model(), prepare(run.scenario).data.test
    with torch.no_grad():
        logits = program(torch.from_numpy(pool.inputs)).double()
    ratio = torch.tensor((own.estimated / own.source).tolist())
    heeded = (logits.log_softmax(dim=1) + ratio.log()).log_softmax(dim=1)
    torch.testing.assert_close(found.outputs["d0"].double(), heeded, rtol=1e-4, atol=1e-4)


def test_em_finds_no_shift_where_there_is_none_once_it_is_calibrated(digits: Run) -> None:
    options = {"method": "label_shift", "estimator": "em", "domain": "handwritten"}
    off = []
    for calibrate in (True, False):
        own = adapt_test(digits, **options, calibrate=calibrate).priors  # type: ignore[arg-type]
        assert own is not None
        off.append((own.estimated - own.true).abs().sum())
    assert off[0] < off[1]


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
    for method, options in (
        ("batch_statistics", {}),
        ("tent", {"batch_size": 8}),
        ("label_shift", {"estimator": "em"}),
    ):
        clean, wrong = (adapt_test(run, method=method, **options) for run in runs)  # type: ignore[arg-type]
        assert clean.table.after.tolist() != wrong.table.after.tolist()
        for domain, model in clean.models.items():
            assert torch.equal(clean.outputs[domain], wrong.outputs[domain])
            for name, tensor in model.items():
                assert torch.equal(tensor, wrong.models[domain][name]), (method, domain, name)
        if clean.priors is not None and wrong.priors is not None:
            assert clean.priors.estimated.tolist() == wrong.priors.estimated.tolist()
            assert "120 labelled training samples" in clean.source


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network has group normalisation."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finished(folder, model={"name": "small_cnn", "norm": "group"}, rounds=1)


def test_group_normalisation_has_scales_and_shifts(grouped: Run) -> None:
    with pytest.raises(InputError, match="model 'small_cnn' has none; use --method tent or label"):
        adapt_test(grouped)
    found = adapt_test(grouped, method="tent", lr=0.01, batch_size=10, domain="d0")
    before, after = grouped.model_state(), found.models["d0"]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{place}.{which}" for place in (1, 5, 9) for which in ("weight", "bias")}
    assert found.untouched == ()


@pytest.mark.parametrize(
    ("batch_size", "steps", "lies"), [(11, 1, True), (10, 1, False), (0, 2, False)]
)
def test_domains_that_no_step_of_tent_reaches_are_named(
    grouped: Run, batch_size: int, steps: int, lies: bool
) -> None:
    """Twenty samples of a domain: one batch of 20, or two of 10."""
    options = {"lr": 0.1, "batch_size": batch_size, "steps": steps, "domain": "d1"}
    found = adapt_test(grouped, method="tent", **options)
    assert found.untouched == (("d1",) if lies else ())
    trained = open_trained(grouped)
    rows = np.flatnonzero(trained.runtime.data.test.domains == 1)
    assert len(rows) == 20
    before = trained.outputs(trained.model(None), trained.runtime.data.test, rows)
    assert torch.allclose(found.outputs["d1"], before, atol=1e-6) is lies


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network has no normalisation, without validation samples."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finished(folder, model={"name": "mlp", "hidden": [4]}, rounds=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "tent"}, "tent adapts scales and shifts .* model 'mlp' has none"),
        (
            {},
            r"model 'mlp' has none; use --method label_shift, or train a model that has some, with",
        ),
        ({"domain": "d9"}, "--domain: the run has no domain 'd9'; it has d0, d1, d2"),
        ({"lr": 0.1}, "--lr: batch_statistics has no such option, tent and label_shift_adapter"),
        ({"alpha": 1.5}, r"--alpha: 1\.5 must be between 0 and 1"),
        ({"batch_size": 1}, "--batch-size: a batch of 1 has no statistics"),
        ({"method": "tent", "steps": 0}, "--steps: 0 must be above 0"),
        ({"method": "tent", "lr": float("inf")}, "--lr: inf must be between 1e-30"),
        ({"method": "label_shift", "estimator": "x"}, "--estimator: there is no 'x'"),
        ({"method": "label_shift", "calibrate": True}, "--calibrate: .* no validation samples"),
    ],
)
def test_what_makes_no_sense_is_refused(plain: Run, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        adapt_test(plain, **arguments)


def test_methods_without_a_global_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fedbn, whose clients have local models"):
        adapt_test(finished(tmp_path / "run", strategy="fedbn", rounds=1))


@pytest.mark.parametrize(
    ("way", "test", "words"),
    [
        ("rlls", 3, "'d0' has 3 test samples, too few to estimate the shares of 4 classes"),
        ("tent", 1, "'d0' has a single test sample, which has no statistics"),
    ],
)
def test_too_few_samples_are_refused(way: str, test: int, words: str, tmp_path: Path) -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes", "test": test}], "image_size": 8}
    run = finished(tmp_path / "run", data=data, rounds=1)
    tent = way == "tent"
    options = {} if tent else {"estimator": way}
    with pytest.raises(InputError, match=words):
        adapt_test(run, method="tent" if tent else "label_shift", **options)


def test_targets_that_are_no_class_are_refused(tmp_path: Path) -> None:
    run = simulate(of_target("multi_label", rounds=1), out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"learns data.target 'multi_label'"):
        adapt_test(run)


def test_the_command_shows_writes_and_draws(digits: Run, tmp_path: Path, run: Any) -> None:
    file, priors, picture = (tmp_path / name for name in ("table.csv", "priors.csv", "one.png"))
    words = ["adapt-test", digits.folder, "--method", "label_shift", "--estimator", "em"]
    code, said, _ = run(*words, "--out", file, "--priors", priors, "--picture", picture)
    assert code == 0
    assert "estimated / true" in said
    assert "source statistics: 90 validation samples" in said
    assert len(pandas.read_csv(file)) == 6
    assert len(pandas.read_csv(priors)) == 30
    assert picture.stat().st_size > 5000
    code, said, _ = run("adapt-test", digits.folder, "--picture", tmp_path / "two.svg")
    assert code == 0
    assert "accuracy after" in said
    assert (tmp_path / "two.svg").stat().st_size > 5000
    code, said, wrong = run("adapt-test", digits.folder, "--picture", tmp_path / "two.magic")
    assert code == 2
    assert not said
    assert "two.magic' does not end as a picture does; use .png" in " ".join(wrong.split())
    code, _, said = run("adapt-test", digits.folder, "--method", "magic")
    assert code == 2
    assert "--method: there is no 'magic'" in said
    code, _, said = run("adapt-test", digits.folder, "--priors", priors)
    assert code == 2
    assert "--priors: they are of --method label_shift" in said
