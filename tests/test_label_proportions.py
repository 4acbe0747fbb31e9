"""Label proportions: clients know the shares of classes in bags, and no sample's own class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from fedlab.adaptation.audit import audit
from fedlab.adaptation.personalise import personalise
from fedlab.config import registry
from fedlab.config.builtin_names import BUILTIN
from fedlab.engine.execution.passes import Passes
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.losses.proportion_loss import ProportionLoss
from fedlab.partition.label_proportions import LabelProportions
from fedlab.preparation import prepare
from fedlab.report.partition_table import write_table
from fedlab.report.terminal.partition_view import known_labels
from fedlab.scenario import Scenario
from fedlab.simulation import simulate
from fedlab.targets.base import PROPORTIONS
from fedlab.targets.proportions import Proportions
from helpers import toy
from helpers.cohorts import assert_same, both, received

BAGS = {"label_proportions": {"bag_size": 4}}
MLP = {"name": "mlp", "hidden": [8]}
SMALL_CNN = {"name": "small_cnn", "widths": [4, 4, 4]}


def scenario(bag_size: int | str = 4, **changes: Any) -> Scenario:
    partition = {"clients": 3, "label_proportions": {"bag_size": bag_size}}
    return toy.scenario(**{"partition": partition, "model": MLP} | changes)


def runtime(chosen: Scenario) -> Runtime:
    prepared = prepare(chosen)
    return Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))


def numpy_loss(outputs: np.ndarray, shares: np.ndarray, bags: np.ndarray) -> float:
    """The mean over bags of -Σ_c s_c log p̄_c, bag by bag."""
    losses = []
    for bag in np.unique(bags):
        logits = outputs[bags == bag]
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses.append(-(shares[bags == bag][0] * np.log(chances.mean(axis=0))).sum())
    return float(np.mean(losses))


# --------------------------------------------------------------------------- the loss


def test_the_loss_of_a_bag_does_not_know_who_is_who() -> None:
    """Members (0.9, 0.1) and (0.1, 0.9) of a bag half and half: ln 2, the least there is."""
    outputs = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log().requires_grad_()
    shares = torch.full((2, 2), 0.5)
    loss = ProportionLoss().of_bags(2).value(outputs, shares, torch.arange(2), {})
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().max().item() == pytest.approx(0, abs=1e-7)
    one_sided = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log()
    worse = ProportionLoss().of_bags(2).value(one_sided, shares, torch.arange(2), {})
    assert worse.item() == pytest.approx(-0.5 * np.log(0.9 * 0.1), abs=1e-6)  # 1.203973


def test_the_loss_is_that_of_numpy_also_for_a_cut_bag_and_large_outputs() -> None:
    random = np.random.default_rng(0)
    outputs, bags = random.normal(size=(10, 3)) * 3, np.arange(10) // 4
    shares = random.dirichlet(np.ones(3), 3)[bags]
    found = (
        ProportionLoss()
        .of_bags(4)
        .value(torch.tensor(outputs), torch.tensor(shares), torch.arange(10), {})
    )
    assert found.item() == pytest.approx(numpy_loss(outputs, shares, bags), rel=1e-12)
    whole = ProportionLoss().value(torch.tensor(outputs), torch.tensor(shares), bags, {})
    assert whole.item() == pytest.approx(numpy_loss(outputs, shares, 0 * bags), rel=1e-12)
    far = torch.tensor([[800.0, 0.0], [800.0, 0.0]])
    assert ProportionLoss().of_bags(2).value(
        far, torch.full((2, 2), 0.5), torch.arange(2), {}
    ).item() == pytest.approx(400)


def test_bags_of_one_are_labels() -> None:
    outputs, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0, 2])
    shares = torch.eye(3, dtype=torch.float64)[labels]
    loss = ProportionLoss().of_bags(1).value(outputs, shares, torch.arange(6), {})
    torch.testing.assert_close(loss, cross_entropy(outputs, labels))


def test_a_step_tells_how_far_shares_overlap() -> None:
    """Σ min(s, p̄): of the mean (0.5, 0.5) and the shares (0.75, 0.25) it is 0.75."""
    target = Proportions(bag_size=2)
    outputs = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]]).log()
    shares = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]])
    assert target.scores(outputs, shares).tolist() == pytest.approx([0.75, 0.75, 1.0])
    assert target.losses(outputs, shares).tolist() == pytest.approx([np.log(2)] * 3)


def test_counts_are_those_of_all_bags() -> None:
    shares = torch.tensor([[0.75, 0.25]] * 4 + [[0.0, 1.0]] * 4)
    assert Proportions(bag_size=4).counts(shares, 2).tolist() == [3, 5]


# --------------------------------------------------------------------------- bags


def test_bags_are_whole_within_a_client_and_have_its_shares() -> None:
    labels = np.array([0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 2])
    owners = np.repeat([0, 2, 5], [5, 4, 2])
    labelled = np.ones(11, bool)
    labelled[1] = False
    found = LabelProportions(bag_size=2).draw(labels, labelled, owners, 3, np.random.default_rng(0))
    assert found.bags[1] == -1
    assert not found.shares[1].any()
    assert (found.bags >= 0).tolist() == found.known.tolist()
    inside, sizes = np.unique(found.bags[found.known], return_counts=True)
    assert inside.tolist() == [0, 1, 2, 3, 4]
    assert sizes.tolist() == [2] * 5
    for bag in inside:
        rows = found.bags == bag
        assert len(set(owners[rows])) == 1
        wanted = np.bincount(labels[rows], minlength=3) / 2
        assert (found.shares[rows] == wanted).all()
    whole = LabelProportions(bag_size="client").draw(
        labels, labelled, owners, 3, np.random.default_rng(0)
    )
    assert whole.bags.tolist() == [0, -1, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert whole.shares[0].tolist() == [0.25, 0.25, 0.5]


def test_what_fills_no_bag_has_no_label() -> None:
    found = LabelProportions(bag_size=4).draw(
        np.zeros(7, int), np.ones(7, bool), np.zeros(7, int), 2, np.random.default_rng(0)
    )
    assert found.known.sum() == 4
    partition = prepare(scenario(4)).partition
    assert partition.labels.shape == (len(partition.train), toy.CLASSES)
    assert (np.bincount(partition.bags[partition.bags >= 0]) == 4).all()


def test_a_pass_reads_whole_bags_in_a_new_order() -> None:
    rows = torch.tensor([5, 1, 8, 2, 0, 3, 9, 7])
    plan = Passes.over(8, 4, epochs=2, unit=2)
    places = plan.draw(8, torch.Generator().manual_seed(0))
    batches = rows[places].split_with_sizes(plan.every_size)
    assert [len(batch) for batch in batches] == [4] * 4
    pairs = {(5, 1), (8, 2), (0, 3), (9, 7)}
    for epoch in (batches[:2], batches[2:]):
        drawn = torch.cat(epoch).view(-1, 2).tolist()
        assert {tuple(pair) for pair in drawn} == pairs
    assert torch.cat(batches[:2]).tolist() != torch.cat(batches[2:]).tolist()


def test_a_client_s_rows_come_bag_after_bag() -> None:
    samples = runtime(scenario(4)).client_data(0)
    rows = samples.split("labelled")
    assert samples.bags is not None
    assert (samples.bags[rows].view(-1, 4) == samples.bags[rows].view(-1, 4)[:, :1]).all()
    assert (samples.bags[rows] >= 0).all()
    assert len(rows) == samples.known


# --------------------------------------------------------------------------- what is hidden


def test_no_sample_s_own_label_reaches_training() -> None:
    """Labels that are exchanged within bags, or all made one after the bags, change no bit."""
    prepared = prepare(scenario(4, rounds=2))
    data, partition = prepared.data, prepared.partition
    exchanged = data.train.labels.copy()
    random, moved = np.random.default_rng(0), 0
    for bag in range(partition.bags.max() + 1):
        rows = partition.train[partition.bags == bag]
        exchanged[rows] = exchanged[random.permutation(rows)]
    moved = (exchanged != data.train.labels).sum()
    assert moved > 10
    counts = np.eye(toy.CLASSES)[exchanged[partition.train]]
    for bag in range(partition.bags.max() + 1):  # the shares are the same
        rows = partition.bags == bag
        assert (partition.labels[rows] == counts[rows].mean(axis=0)).all()

    def trained(labels: np.ndarray) -> list[dict[str, torch.Tensor]]:
        pool = replace(data, train=replace(data.train, labels=labels))
        clients = Runtime(prepared.scenario, pool, partition, torch.device("cpu"))
        down = received(clients)
        return [clients.train(k, down, {})[0].arrays["arrays"] for k in range(3)]

    plain = trained(data.train.labels)
    for labels in (exchanged, np.zeros_like(exchanged)):
        for ours, theirs in zip(trained(labels), plain, strict=True):
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_samples_have_shares_and_no_label() -> None:
    clients = runtime(scenario(4))
    for client in range(3):
        samples = clients.client_data(client)
        assert samples.labels.dtype == torch.float32
        known = samples.labels[samples.labelled]
        assert (known.sum(dim=1) == 1).all()
        assert ((known * 4) % 1 == 0).all()
        assert (known.max(dim=1).values < 1).any()
        assert not samples.labels[~samples.labelled].any()


# --------------------------------------------------------------------------- methods


def test_a_step_is_that_of_numpy_s_loss() -> None:
    """FedAvg with one batch of all bags and plain SGD, against autograd through the formula."""
    chosen = scenario(4, training={"batch_size": "full", "optimizer": {"lr": 0.1}})
    clients = runtime(chosen)
    samples, down = clients.client_data(1), received(clients)
    model = clients.trainer.task.model
    rows = samples.labelled
    assert samples.bags is not None
    outputs = model(clients.preprocess.inputs(samples.inputs[rows]))
    loss = torch.stack(
        [
            -(samples.labels[rows][own][0] * outputs[own].softmax(dim=1).mean(dim=0).log()).sum()
            for bag in samples.bags[rows].unique()
            for own in [samples.bags[rows] == bag]
        ]
    ).mean()
    assert loss.item() == pytest.approx(
        numpy_loss(
            outputs.detach().double().numpy(),
            samples.labels[rows].numpy(),
            samples.bags[rows].numpy(),
        ),
        rel=1e-5,
    )
    grads = torch.autograd.grad(loss, list(model.parameters()))
    update, metrics = clients.train(1, down, {})
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert 0 < metrics["proportion_overlap"] <= 1
    named = zip(model.named_parameters(), grads, strict=True)
    for (name, before), grad in named:
        torch.testing.assert_close(update.arrays["arrays"][name], before.detach() - 0.1 * grad)


@pytest.mark.parametrize("bag_size", [4, "client"])
def test_many_clients_as_one_learn_the_same(bag_size: int | str) -> None:
    size = "full" if bag_size == "client" else 8
    training = {"batch_size": size, "optimizer": {"lr": 0.05}}
    assert_same(*both(runtime(scenario(bag_size, training=training, model=SMALL_CNN))))


def goes_with_bags(method: str) -> bool:
    return PROPORTIONS in registry.resolve("strategies", method).Parameters.targets


NEEDS: dict[str, dict[str, Any]] = {
    "fedwon": {"model": SMALL_CNN | {"norm": "none"}},
    "feddg_ga": {"evaluation": {"validation": 0.25}},
    "fedbuff": {
        "devices": {
            "profiles": [{"samples_per_second": 100, "download_mbps": 20, "upload_mbps": 5}]
        },
        "strategy": {"name": "fedbuff", "buffer_size": 2, "concurrency": 3},
    },
    "moon": {"strategy": {"name": "moon", "projection": 4}},
}
QUICK = ("fedprox", "fedbn", "scaffold", "fedala", "ifca")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in BUILTIN["strategies"]
        if goes_with_bags(name) and name != "nmtune"  # which needs features of a frozen network
    ],
)
def test_a_method_that_reads_no_label_learns_from_bags(method: str, tmp_path: Path) -> None:
    changes = {"model": SMALL_CNN, "strategy": method, "rounds": 2} | NEEDS.get(method, {})
    run = simulate(scenario(4, **changes), out=tmp_path / "run", progress=False)
    rows = run.history[run.history.metric.isin(["loss", "proportion_overlap", "accuracy"])]
    assert {"train", "test"} <= set(rows.split)
    assert np.isfinite(rows.value).all()
    assert not (run.folder / "failures.csv").exists()


@pytest.mark.parametrize(
    "method", [name for name in BUILTIN["strategies"] if not goes_with_bags(name)]
)
def test_a_method_that_reads_labels_is_refused(method: str) -> None:
    with pytest.raises(ValidationError) as raised:
        scenario(4, strategy=method)
    (error,) = raised.value.errors()
    assert f"strategy.name: '{method}' goes with data.target class" in error["msg"]
    assert "partition.label_proportions leaves no sample its own label" in error["msg"]
    assert "\n" not in error["msg"]


def test_it_learns_and_a_run_is_the_same_again(tmp_path: Path) -> None:
    one = {"name": "helpers.toy:Stripes", "domains": 1, "train": 120, "test": 60}
    data = {"sources": [one], "image_size": 8}
    training = {"batch_size": 8, "local_epochs": 2, "optimizer": {"lr": 0.2}}
    chosen = scenario(4, rounds=5, data=data, training=training)
    runs = [simulate(chosen, out=tmp_path / name, progress=False) for name in "ab"]
    ours, theirs = ((run.folder / "history.csv").read_bytes() for run in runs)
    assert ours == theirs
    rows = runs[0].history.query("metric == 'accuracy' and split == 'test'")
    by_round = rows.groupby("round").value.mean()
    assert by_round.iloc[-1] > 0.9


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("bag_size", "changes", "said"),
    [
        (5, {}, r"training.batch_size: 16 is no multiple of .*bag_size 5.*batch_size=15"),
        (32, {}, r"training.batch_size: 16 is no multiple of .*bag_size 32.*batch_size=32"),
        ("client", {}, r"would cut the bag .*batch_size=full"),
        (4, {"training": {"loss": "ldam"}}, r"training.loss: 'ldam' goes with data.target class"),
        (0, {}, "greater than 0"),
    ],
)
def test_what_does_not_fit_is_refused(bag_size: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        scenario(bag_size, **changes)


def test_the_loss_of_bags_needs_bags() -> None:
    with pytest.raises(ValidationError, match=r"'proportions' goes with partition.label_proport"):
        toy.scenario(training={"loss": "proportions"})


def test_other_targets_have_no_bags() -> None:
    from helpers.targets import scenario as of_target

    with pytest.raises(ValidationError, match=r"bags have shares of classes, .*'multi_label'"):
        of_target("multi_label", partition={"clients": 3, **BAGS})


def test_pooled_clients_are_no_bag() -> None:
    training = {"batch_size": "full"}
    with pytest.raises(InputError, match=r"centralised gives bags of different sizes to one"):
        prepare(scenario("client", strategy="centralised", training=training))
    pooled = prepare(scenario(4, strategy="centralised")).partition
    assert len(pooled[0].bags) == len(pooled.train)


def test_clients_without_a_bag_are_named() -> None:
    with pytest.raises(InputError, match=r"no bag of 64.*bag_size"):
        prepare(scenario(64, training={"batch_size": 64}))


def test_what_needs_labels_after_a_run_is_refused(tmp_path: Path) -> None:
    run = simulate(scenario(4), out=tmp_path / "run", progress=False)
    for after in (audit, personalise):
        with pytest.raises(InputError, match=r"know shares of classes in bags of samples"):
            after(run)


# --------------------------------------------------------------------------- what is shown


def test_tables_say_bags(tmp_path: Path) -> None:
    prepared = prepare(scenario(8))
    words = known_labels(prepared.partition, prepared.data)
    assert words == ["8 samples in each of 15 bags", "labels known as shares of bags"]
    write_table(prepared.partition, prepared.data, tmp_path / "table.csv")
    rows = (tmp_path / "table.csv").read_text().splitlines()
    train = [row.split(",") for row in rows if row.startswith("train,")]
    assert all(row[5].startswith("bag ") for row in train)
    assert len({row[5] for row in train}) == 15
    assert all(row[5] in "abcd" for row in (r.split(",") for r in rows[1:]) if row[0] == "test")
