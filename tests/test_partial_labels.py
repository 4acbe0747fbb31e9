"""Partial positive labels: which positives clients know, and the positive-unlabelled loss."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from fedlab.data.load import load_data
from fedlab.deploy.device.local_data import OwnData
from fedlab.engine.execution.runtime import Runtime
from fedlab.losses.pu import PU
from fedlab.partition.label_budget import LabelBudget
from fedlab.preparation import divide
from fedlab.report.partition_measures import known_positives, wrong_labels
from fedlab.report.terminal.partition_view import render
from helpers.cohorts import received
from helpers.targets import scenario


def value(loss: PU, outputs: Any, labels: Any) -> float:
    outputs, labels = torch.as_tensor(outputs), torch.as_tensor(labels)
    return float(loss.value(outputs, labels, torch.arange(len(labels)), {}))


def by_hand(
    outputs: np.ndarray, labels: np.ndarray, gamma: float, a: float
) -> tuple[float, np.ndarray]:
    """The loss and its gradient, label by label, in NumPy."""
    total, slopes = 0.0, np.zeros_like(outputs)
    for c in range(outputs.shape[1]):
        tau = min(1.0, a * outputs[:, c].std())
        s = 1 / (1 + np.exp(-outputs[:, c] / tau))
        weight, positive = s.mean() ** gamma, labels[:, c] == 1
        total += weight * np.log(s.mean())
        slopes[:, c] = weight * s * (1 - s) / s.sum() / tau
        if positive.any():
            total -= np.log(s[positive]).mean()
            slopes[positive, c] -= (1 - s[positive]) / positive.sum() / tau
    return total, slopes


# ---------------------------------------------------------------------- the loss


def test_two_samples_by_hand() -> None:
    outputs = np.array([[2.0], [-1.0]])  # deviation 1.5, so that τ = 1; s = (.880797, .268941)
    assert value(PU(gamma=0.55), outputs, [[1.0], [0.0]]) == pytest.approx(-0.281362, abs=1e-6)
    # Without a known positive: .574869^.55 log .574869.
    assert value(PU(gamma=0.55), outputs, [[0.0], [0.0]]) == pytest.approx(-0.408290, abs=1e-6)


@pytest.mark.parametrize(("gamma", "a"), [(0.55, 1.0), (0.85, 2.0), (0.0, 0.5)])
def test_the_loss_and_its_gradient_are_those_of_the_formula(gamma: float, a: float) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, [0.4, 1.0, 3.0], (8, 3))
    labels = (rng.random((8, 3)) < [0.4, 0.4, 0.0]).astype(float)
    assert labels.sum(axis=0).tolist()[2] == 0
    expected, slopes = by_hand(outputs, labels, gamma, a)
    given = torch.tensor(outputs, requires_grad=True)
    loss = PU(gamma=gamma, temperature=a)
    found = loss.value(given, torch.tensor(labels), torch.arange(8), {})
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy(), slopes, rtol=1e-10, atol=1e-15)


def test_outputs_that_are_alike_or_far_out_have_finite_gradients() -> None:
    for outputs in (torch.full((4, 2), 0.3), torch.tensor([[200.0, -200.0], [-200.0, 200.0]])):
        outputs.requires_grad_()
        PU().value(outputs, torch.ones_like(outputs), torch.arange(len(outputs)), {}).backward()
        assert outputs.grad is not None
        assert outputs.grad.isfinite().all()
        assert float(outputs.grad.abs().max()) <= 10  # 1 / floor


# ---------------------------------------------------------------------- which labels are known


def budget(**changes: Any) -> dict[str, Any]:
    return {"clients": 4, "label_budget": changes}


def test_each_label_of_each_client_keeps_its_share() -> None:
    data, partition = divide(scenario("multi_label", partition=budget(positives=0.3)))
    true = data.train.labels[partition.train]
    assert partition.labelled.all()
    assert (partition.labels <= true).all()
    owners = np.repeat(np.arange(4), np.diff(partition.train_offsets))
    for client in range(4):
        for label in range(3):
            holds = true[owners == client, label].sum()
            known = partition.labels[owners == client, label].sum()
            assert known == pytest.approx(0.3 * holds, abs=1) or known == 1
            assert known >= min(holds, 1)
    again = divide(scenario("multi_label", partition=budget(positives=0.3)))[1]
    assert np.array_equal(again.labels, partition.labels)
    other = divide(scenario("multi_label", partition=budget(positives=0.3), seed=1))[1]
    assert other.labels.tobytes() != partition.labels.tobytes()


def test_a_plain_budget_holds_for_each_client() -> None:
    labels, owners = np.ones((40, 3), np.uint8), np.repeat([0, 1], 20)
    plain = LabelBudget(positives=0.25, stratified=False)
    known = plain.known(labels, owners, np.ones(40, bool), np.random.default_rng(0))
    assert [int(known[owners == client].sum()) for client in (0, 1)] == [15, 15]
    assert labels.all()


def test_samples_without_labels_count_for_nothing() -> None:
    labels, owners = np.ones((20, 2), np.uint8), np.zeros(20, np.int64)
    labelled = np.arange(20) < 10
    known = LabelBudget(positives=0.5).known(labels, owners, labelled, np.random.default_rng(0))
    assert known[labelled].sum(axis=0).tolist() == [5, 5]
    assert known[~labelled].all()


def test_hidden_labels_leave_the_other_draws_and_what_is_tested_alone() -> None:
    validation = {"validation": 0.2}
    wanted = scenario("multi_label", partition=budget(positives=0.2), evaluation=validation)
    plain = scenario("multi_label", partition=budget(), evaluation=validation)
    data, partition = divide(wanted)
    _, whole = divide(plain)
    for name in ("train", "test", "validation", "labelled"):
        assert np.array_equal(getattr(partition, name), getattr(whole, name)), name
    assert partition.labels.sum() < whole.labels.sum() / 2
    runtime = Runtime(wanted, data, partition, torch.device("cpu"))
    for client in range(4):
        split = partition[client]
        for tests, labels in (
            (runtime.client_tests(client), data.test.labels[split.test]),
            (runtime.client_validations(client), data.train.labels[split.validation]),
        ):
            assert np.array_equal(tests.labels.numpy(), labels)


def test_training_reads_known_labels_alone() -> None:
    training = {"batch_size": 10, "loss": "pu", "optimizer": {"lr": 0.05}}
    wanted = scenario("multi_label", partition=budget(positives=0.3), training=training)
    data, partition = divide(wanted)
    opposite = replace(data, train=replace(data.train, labels=1 - data.train.labels))
    updates = []
    for pool in (data, opposite):
        runtime = Runtime(wanted, pool, partition, torch.device("cpu"))
        update, _ = runtime.train(0, received(runtime), {})
        updates.append(update.arrays["arrays"])
    assert all(torch.equal(own, updates[1][name]) for name, own in updates[0].items())


def test_a_device_hides_positives_too() -> None:
    wanted = scenario("multi_label", partition=budget(positives=0.5), data={"domains": ["d0"]})
    data = load_data(wanted.data)
    split = OwnData(wanted, data).partition(2, 4)[2]
    holds, known = data.train.labels.sum(axis=0), split.labels.sum(axis=0)
    assert (np.abs(known - 0.5 * holds) <= 1).all()
    assert (split.labels <= data.train.labels).all()


def test_partitions_are_told_with_what_is_known() -> None:
    data, partition = divide(scenario("multi_label", partition=budget(positives=0.3)))
    holds = data.train.labels[partition.train].sum()
    assert known_positives(partition, data) == partition.labels.sum() / holds
    assert wrong_labels(partition, data) == 0
    console = Console(file=StringIO(), width=200)
    render(partition, data, console)
    assert isinstance(console.file, StringIO)
    said = console.file.getvalue().splitlines()[0]
    assert f"{partition.labels.sum() / holds:.1%} of the labels that hold known" in said
    assert "wrong" not in said


def test_classes_have_no_positives_to_hide() -> None:
    with pytest.raises(ValueError, match=r"budget\.positives: 0\.5 .* is 'class'; leave"):
        scenario("class", partition=budget(positives=0.5))
    with pytest.raises(ValueError, match=r"'pu' goes with data\.target multi_label"):
        scenario("class", training={"loss": "pu"})
