"""Losses: their formulas, classes that a client does not have, and every way of training."""

from __future__ import annotations

from math import exp, isfinite, log
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, softmax

from fedlab.config.registry import BUILTIN, resolve
from fedlab.losses.aldr import ALDRKL
from fedlab.losses.base import ClientStats, Loss
from fedlab.losses.calibrated import FedLC, FedRS
from fedlab.losses.label_smoothing import LabelSmoothing
from fedlab.losses.ldam import LDAM
from fedlab.losses.ldr import LDRKL
from fedlab.losses.prior import BalancedSoftmax, LogitAdjustment
from fedlab.scenario import EngineSpec
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import METHODS, assert_same, both, ragged

COUNTS = torch.tensor([81, 0, 16, 1])
LOSSES: dict[str, dict[str, Any]] = {
    name: {"name": name}
    for name in BUILTIN["losses"]
    if name != "cross_entropy" and "class" in resolve("losses", name).targets
}
LOSSES["ldam"] |= {"reweight_from": 0.0, "beta": 0.9}
USING_THE_LOSS = [
    name
    for name in BUILTIN["strategies"]
    # Some have losses of their own; GGEUR, NMTune and LLP-BP leave it to their bases, FedBuff and
    # FedDG-GA to FedAvg's clients.
    if name not in ("fedlabel", "fixmatch", "uda", "fedetf", "fedrod", "fediir")
    and name not in ("ggeur", "fedbuff", "feddg_ga", "sla", "nmtune", "llp_bp")
]
STACKED = {name: block for name, block in LOSSES.items() if name != "aldr_kl"}


def logits(classes: int = 4, batch: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = 2 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    return outputs, torch.tensor([0, 2, 3, 0, 2, 0])


def value(
    loss: Loss,
    outputs: torch.Tensor,
    labels: torch.Tensor,
    counts: torch.Tensor = COUNTS,
    server_round: int = 1,
) -> torch.Tensor:
    kept = loss.start(ClientStats(counts, len(labels)), server_round, 10)
    return loss.value(outputs, labels, torch.arange(len(labels)), kept)


# ---------------------------------------------------------------------- formulas


def test_label_smoothing_is_pytorchs() -> None:
    outputs, labels = logits()
    expected = cross_entropy(outputs, labels, label_smoothing=0.3)
    torch.testing.assert_close(value(LabelSmoothing(smoothing=0.3), outputs, labels), expected)


def test_balanced_softmax_weighs_exponentials_by_counts() -> None:
    outputs, labels = logits()
    powers = COUNTS * outputs.exp()
    expected = -(powers[range(6), labels] / powers.sum(dim=1)).log().mean()
    torch.testing.assert_close(value(BalancedSoftmax(), outputs, labels), expected)


def test_logit_adjustment_adds_log_shares_times_tau() -> None:
    outputs, labels = logits()
    counts = torch.tensor([5, 1, 3, 1])
    expected = cross_entropy(outputs + 0.5 * (counts / counts.sum()).double().log(), labels)
    found = value(LogitAdjustment(tau=0.5), outputs, labels, counts)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    balanced = value(BalancedSoftmax(), outputs, labels, counts)
    assert value(LogitAdjustment(), outputs, labels, counts) == balanced


@pytest.mark.parametrize("loss", [BalancedSoftmax(), LogitAdjustment(tau=2.0)])
def test_a_class_the_client_does_not_have_is_not_unlearnt(loss: Loss) -> None:
    outputs, labels = logits()
    outputs.requires_grad_()
    (grad,) = torch.autograd.grad(value(loss, outputs, labels), outputs)
    assert grad[:, 1].abs().max() < 1e-8
    assert grad[:, [0, 2, 3]].abs().min() > 1e-8


def test_ldam_margins_grow_with_the_fourth_root_of_rarity() -> None:
    outputs, labels = logits()
    margins = torch.tensor([0.5 / 3, 0.5, 0.25, 0.5], dtype=torch.float64)  # 81, none, 16, 1
    shifted = outputs.clone()
    for sample, label in enumerate(labels):
        shifted[sample, label] -= margins[label]
    found = value(LDAM(scale=3.0), outputs, labels)
    torch.testing.assert_close(found, cross_entropy(3 * shifted, labels), rtol=1e-6, atol=1e-6)


def test_ldam_weighs_classes_in_late_rounds_only() -> None:
    outputs, labels = logits()
    loss = LDAM(reweight_from=0.5, beta=0.9, margin=1e-9)
    plain = cross_entropy(outputs, labels)
    torch.testing.assert_close(value(loss, outputs, labels, server_round=5), plain)
    weights = 0.1 / (1 - 0.9 ** torch.tensor([81.0, 1.0, 16.0, 1.0], dtype=torch.float64))
    weighed = cross_entropy(outputs, labels, weight=weights)
    found = value(loss, outputs, labels, server_round=6)
    torch.testing.assert_close(found, weighed, rtol=1e-6, atol=1e-6)


def ldr(temperature: float, margin: float = 0.0) -> LDRKL:
    return LDRKL(temperature=temperature, margin=margin, scores="raw")


def test_ldr_kl_lies_between_the_hinge_of_the_worst_class_and_the_mean() -> None:
    outputs, labels = logits()
    leads = outputs - outputs.gather(1, labels[:, None]) + 0.1
    leads.scatter_(1, labels[:, None], 0.0)
    crammer_singer, mean = leads.amax(dim=1).mean().item(), leads.mean().item()
    assert value(ldr(1e-4, 0.1), outputs, labels) == pytest.approx(crammer_singer, abs=1e-3)
    assert value(ldr(1e6, 0.1), outputs, labels) == pytest.approx(mean, abs=1e-4)
    assert mean < value(ldr(1.0, 0.1), outputs, labels) < crammer_singer
    expected = cross_entropy(outputs, labels) - log(4)
    torch.testing.assert_close(value(ldr(1.0), outputs, labels), expected)


@pytest.mark.parametrize("scores", ["l1", "softplus"])
def test_scores_on_a_scale_of_their_own_do_not_grow_with_the_outputs(scores: Any) -> None:
    loss = LDRKL(scores=scores, temperature=1e6)
    _, labels = logits()
    right = torch.eye(4, dtype=torch.float64)[labels]
    certain, more_certain = (value(loss, size * right, labels).item() for size in (1e3, 1e5))
    assert certain == pytest.approx(more_certain, abs=0.01)
    # The label's score is K and the others' 0: K - 1 classes are behind by K, less the margin.
    assert more_certain == pytest.approx(-3 + 0.1 * 3 / 4, abs=0.01)


def test_aldr_kl_keeps_a_temperature_for_every_sample() -> None:
    outputs, labels = logits()
    loss = ALDRKL(scores="raw", temperature=2.0, alpha=3.0, margin=0.1)
    kept = loss.start(ClientStats(COUNTS, 10), 1, 10)
    assert kept["temperatures"].tolist() == [2.0] * 10
    indices = torch.tensor([9, 1, 0, 4, 5, 2])
    temperatures = torch.full((6,), 2.0, dtype=torch.float64)
    for _ in range(2):  # what the first step leaves, the second one starts from
        chances = softmax(outputs / temperatures[:, None], dim=1)
        divergence = (chances * (4 * chances).log()).sum(dim=1)
        temperatures = 2.0 * (1 - divergence / (3.0 * log(4)))
        leads = outputs - outputs.gather(1, labels[:, None]) + 0.1
        leads.scatter_(1, labels[:, None], 0.0)
        each = temperatures * ((leads / temperatures[:, None]).exp().mean(dim=1)).log()
        each -= 3.0 * log(4) / (2 * 2.0) * (temperatures - 2.0) ** 2
        found = loss.value(outputs, labels, indices, kept)
        torch.testing.assert_close(found, each.mean(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(kept["temperatures"][indices].double(), temperatures)
    untouched = [row for row in range(10) if row not in indices]
    assert kept["temperatures"][untouched].tolist() == [2.0] * 4
    assert (temperatures > 2.0 * (1 - 1 / 3.0)).all()


def test_aldr_kl_is_ldr_kl_where_the_network_is_unsure() -> None:
    outputs = torch.full((6, 4), 3.0, dtype=torch.float64)
    _, labels = logits()
    assert value(ALDRKL(scores="raw"), outputs, labels) == pytest.approx(
        value(ldr(1.0, 0.1), outputs, labels).item()
    )


ZEROS = torch.zeros(1, 3, dtype=torch.float64)
TWOS = torch.full((1, 3), 2.0, dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "counts", "outputs", "expected"),
    [
        (FedLC(tau=1.0), (16, 1, 0), ZEROS, 0.474077),  # margins 1/2, 1 and 100: ln(1 + e^(-1/2))
        (FedLC(tau=2.0), (16, 1, 0), ZEROS, log(1 + exp(-1))),
        (FedRS(alpha=0.5), (10, 5, 0), TWOS, 0.861995),  # scales 1, 1 and 1/2
        (FedRS(alpha=0.5, soft=True), (10, 5, 0), TWOS, 0.680270),  # scales 1, 3/4 and 1/2
        (FedRS(alpha=1.0, soft=True), (10, 5, 0), TWOS, log(3)),
    ],
)
def test_calibrated_losses_by_hand(
    loss: Loss, counts: tuple[int, ...], outputs: torch.Tensor, expected: float
) -> None:
    found = value(loss, outputs, torch.tensor([0]), torch.tensor(counts))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_fedrs_shrinks_the_gradient_of_absent_classes_alone() -> None:
    outputs = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)  # scaled or not, the same
    labels = torch.tensor([0, 2, 3, 0, 2, 0])
    plain, restricted = (
        torch.autograd.grad(value(FedRS(alpha=alpha), outputs, labels), outputs)[0]
        for alpha in (1.0, 0.25)
    )
    torch.testing.assert_close(restricted[:, 1], plain[:, 1] / 4)
    torch.testing.assert_close(restricted[:, [0, 2, 3]], plain[:, [0, 2, 3]])


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("block", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("counts", [COUNTS, torch.zeros(4, dtype=torch.int64)], ids=["some", "no"])
def test_losses_and_gradients_are_finite(block: dict, counts: torch.Tensor) -> None:
    loss = Loss.choose(block)
    _, labels = logits()
    labels[0] = 1  # of a class the client does not have, as a pseudo-label may be
    for outputs in (torch.zeros(6, 4), 100 * torch.eye(6, 4), logits()[0].float()):
        outputs = outputs.clone().requires_grad_()
        found = value(loss, outputs, labels, counts)
        (grad,) = torch.autograd.grad(found, outputs)
        assert found.isfinite()
        assert grad.isfinite().all()


@pytest.mark.parametrize("block", LOSSES.values(), ids=LOSSES)
def test_a_gradient_step_makes_labels_likelier(block: dict) -> None:
    loss = Loss.choose(block)
    outputs, labels = logits()
    outputs.requires_grad_()
    (grad,) = torch.autograd.grad(value(loss, outputs, labels), outputs)
    before = softmax(outputs, dim=1).gather(1, labels[:, None])
    after = softmax(outputs - 0.1 * grad, dim=1).gather(1, labels[:, None])
    assert after.mean() > before.mean()


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"name": "ldam", "beta": 1.0}, "beta"),
        ({"name": "ldam", "reweight_from": 1.5}, "reweight_from"),
        ({"name": "ldr_kl", "temperature": 0.0}, "temperature"),
        ({"name": "aldr_kl", "alpha": 1.0}, "alpha"),
        ({"name": "label_smoothing", "smoothing": 1.0}, "smoothing"),
        ({"name": "logit_adjustment", "tau": -1.0}, "tau"),
        ({"name": "balanced_softmax", "tau": 1.0}, "tau"),
        ({"name": "ldr_kl", "scores": "cosine"}, "scores"),
        ({"name": "fedlc", "tau": 0.0}, "tau"),
        ({"name": "fedrs", "alpha": 0.0}, "alpha"),
        ({"name": "fedrs", "alpha": 1.1}, "alpha"),
    ],
)
def test_parameters_have_ranges(block: dict, key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        toy.scenario(training={"loss": block})


# ---------------------------------------------------------------------- in training


@pytest.mark.parametrize("block", STACKED.values(), ids=STACKED)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(block: dict) -> None:
    training = {"batch_size": 10, "local_epochs": 2, "optimizer": {"lr": 0.05}, "loss": block}
    runtime = ragged(strategy=METHODS["fedprox"], training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime, rounds=1), 1e-9)


def test_stacks_are_refused_where_what_is_kept_has_the_client_s_size() -> None:
    trainer = ragged(training={"loss": "aldr_kl"}).trainer
    assert not trainer.supports_vmap


@pytest.mark.slow_except(
    "fedavg",
    "fedbn",
    "ditto",
    "scaffold",
    "fedadam",
    "fedsam",
    "fedala",
    "ifca",
    "fedplvm",
    "fedlesam",
    "fedproto",
    "centralised",
)
@pytest.mark.parametrize("method", USING_THE_LOSS)
def test_methods_hand_on_what_a_loss_keeps(tmp_path: Path, method: str) -> None:
    chosen = toy.scenario(
        strategy=method,
        model={"name": "small_cnn", "widths": [4, 4, 4]},
        training={"loss": "ldam", "optimizer": {"lr": 0.02}},
        rounds=2 if method == "fixbn" else 1,
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    losses = run.history.query("metric == 'loss' and split == 'train'").value
    assert len(losses)
    assert losses.map(isfinite).all()


@pytest.mark.slow_for("fedrs", "aldr_kl", "ldam", "fedlc")
@pytest.mark.parametrize("name", LOSSES)
def test_runs_learn(tmp_path: Path, name: str) -> None:
    chosen = toy.scenario(
        model={"name": "mlp", "hidden": [16]},
        partition={"clients": 3, "labels": {"name": "classes_per_client", "count": 3}},
        training={"batch_size": 8, "optimizer": {"lr": 0.2}, "loss": LOSSES[name]},
        engine=EngineSpec(execution="vmap"),
        rounds=4,
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    tested = run.history.query("metric == 'accuracy' and split == 'test' and client == -1")
    assert tested[tested["round"] == 4].value.mean() > 0.5
