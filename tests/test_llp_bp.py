"""LLP-BP: labels from label proportions by belief propagation, in front of any method."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.clients.llp_bp import FOUND
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.losses.proportion_loss import ProportionLoss
from fedlab.models.belief_propagation import (
    Pairs,
    bag_pairs,
    bag_unaries,
    marginals,
    neighbour_pairs,
    together,
)
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.cohorts import received
from helpers.running import At, result


def scenario(bag_size: int = 4, **changes: Any) -> Scenario:
    partition = {"clients": 3, "label_proportions": {"bag_size": bag_size}}
    fields = {"partition": partition, "model": {"name": "mlp", "hidden": [8]}}
    return toy.scenario(**fields | {"strategy": "llp_bp"} | changes)


def runtime(chosen: Scenario) -> Runtime:
    prepared = prepare(chosen)
    return Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))


def exact_marginals(log_weight: Any, samples: int, classes: int) -> np.ndarray:
    """Probabilities of each sample's class, by adding all labellings up."""
    found = np.zeros((samples, classes))
    for labels in itertools.product(range(classes), repeat=samples):
        weight = np.exp(log_weight(np.array(labels)))
        for sample, label in enumerate(labels):
            found[sample, label] += weight
    return found / found.sum(axis=1, keepdims=True)


# --------------------------------------------------------------------- belief propagation


def test_a_bag_of_two_with_one_of_each() -> None:
    """s = 1 of 2, λ_b = 1: P(01) = P(10) = 0.365529, P(00) = P(11) = 0.134471, marginals 1/2."""
    unaries, pairs = bag_unaries(torch.full((2, 2), 0.5), 2, 1.0), bag_pairs(2, 2, 1.0)
    logs = np.array(
        [
            [float(unaries[0, a] + unaries[1, b] + (a == b) * pairs.weights[0]) for b in range(2)]
            for a in range(2)
        ]
    )
    joint = np.exp(logs) / np.exp(logs).sum()
    assert joint.ravel().tolist() == pytest.approx(
        [0.134471, 0.365529, 0.365529, 0.134471], abs=1e-6
    )
    found = marginals(unaries, pairs, iterations=100, damping=0.5)
    torch.testing.assert_close(found, torch.full((2, 2), 0.5).double())


def test_two_classes_have_the_paper_s_weights() -> None:
    """Of -λ_b (Σ y - s)² - λ_s k (y_1 - y_2)², up to a constant: three samples, s = 2."""
    shares = torch.tensor([[1 / 3, 2 / 3]], dtype=torch.float64).expand(3, 2)
    unaries, inside = bag_unaries(shares, 3, 0.7), bag_pairs(3, 3, 0.7)
    tie = Pairs(torch.tensor([1]), torch.tensor([2]), torch.tensor([0.4]).double())
    pairs = together(3, inside, tie)
    assert len(pairs.weights) == 3

    def ours(labels: np.ndarray) -> float:
        own = sum(float(unaries[i, label]) for i, label in enumerate(labels))
        equal = labels[pairs.first.numpy()] == labels[pairs.second.numpy()]
        return own + float(pairs.weights.numpy()[equal].sum())

    def paper(labels: np.ndarray) -> float:
        return -0.7 * (labels.sum() - 2) ** 2 - 0.4 * (labels[1] - labels[2]) ** 2

    every = [np.array(each) for each in itertools.product(range(2), repeat=3)]
    apart = [ours(labels) - paper(labels) for labels in every]
    assert apart == pytest.approx([apart[0]] * 8)


def test_without_loops_it_is_exact_with_three_classes() -> None:
    """Two bags of two, of which one member each is tied to the other."""
    shares = np.array([[1 / 2, 1 / 2, 0], [1 / 2, 1 / 2, 0], [0, 1 / 2, 1 / 2], [0, 1 / 2, 1 / 2]])
    tie = Pairs(torch.tensor([1]), torch.tensor([2]), torch.tensor([0.9]).double())
    pairs = together(4, bag_pairs(4, 2, 1.3), tie)
    found = marginals(bag_unaries(torch.tensor(shares), 2, 1.3), pairs, iterations=100, damping=0.5)

    def log_weight(labels: np.ndarray) -> float:
        hot = np.eye(3)[labels]
        bags = hot.reshape(2, 2, 3).sum(axis=1) - 2 * shares[::2]
        return -1.3 / 2 * (bags**2).sum() - 0.9 / 2 * ((hot[1] - hot[2]) ** 2).sum()

    np.testing.assert_allclose(found.numpy(), exact_marginals(log_weight, 4, 3), atol=1e-9)
    assert found[1].argmax() == 1  # the class that both bags have


def test_firm_bags_stay_finite() -> None:
    shares = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    found = marginals(
        bag_unaries(shares, 4, 500.0), bag_pairs(4, 4, 500.0), iterations=50, damping=0.5
    )
    torch.testing.assert_close(found, shares.double())


def test_neighbours_are_the_nearest_by_cosine_each_pair_once() -> None:
    points = torch.tensor([[1.0, 0.0], [2.0, 0.2], [0.0, 1.0], [0.5, 9.0]]).double()
    pairs = neighbour_pairs(points, 1, 10.0, 1.0)
    ties = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert ties == [(0, 1), (2, 3)]
    wanted = [10 * np.exp(-np.hypot(1, 0.2)), 10 * np.exp(-np.hypot(0.5, 8))]
    assert pairs.weights.tolist() == pytest.approx(wanted)
    by_median = neighbour_pairs(points, 1, 10.0)
    middle = np.hypot(1, 0.2)  # of two, the lower one
    assert by_median.weights[0].item() == pytest.approx(10 * np.exp(-1))
    assert by_median.weights[1].item() == pytest.approx(10 * np.exp(-np.hypot(0.5, 8) / middle))
    assert len(neighbour_pairs(points, 9, 1.0).weights) == 6
    assert len(neighbour_pairs(points[:1], 4, 1.0).weights) == 0


def test_clusters_tell_who_is_who_in_a_bag() -> None:
    """Two clusters, and counts of bags: labels are right where the loss of a bag is blind."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(40, generator=generator) < 0.4
    centres = torch.tensor([[3.0, 0.0], [0.0, 3.0]]).double()
    points = centres[truth.long()] + 0.2 * torch.randn(40, 2, generator=generator).double()
    hot = torch.eye(2)[truth.long()].view(-1, 4, 2)
    shares = hot.mean(dim=1).repeat_interleave(4, dim=0)
    pairs = together(40, bag_pairs(40, 4, 10.0), neighbour_pairs(points, 4, 10.0))
    found = marginals(bag_unaries(shares, 4, 10.0), pairs, iterations=100, damping=0.5)
    assert (found.argmax(dim=1) == truth.long()).all()


# --------------------------------------------------------------------- the method


def rounds(clients: Runtime, count: int, client: int = 0) -> list[Any]:
    """Updates of a client in consecutive rounds, from the initial model."""
    state: dict[str, dict[str, Tensor]] = {}
    found = []
    for server_round in range(1, count + 1):
        update, _ = clients.train(client, received(clients, server_round, rounds=count), state)
        state = update.client_state
        found.append(update)
    return found


def test_labels_are_found_twice_first_from_samples_then_from_features() -> None:
    clients = runtime(scenario(rounds=4))
    updates = rounds(clients, 4)
    kept = [update.client_state[FOUND] for update in updates]
    assert [int(each["stage"]) for each in kept] == [0, 0, 1, 1]
    assert torch.equal(kept[0]["labels"], kept[1]["labels"])
    assert torch.equal(kept[2]["labels"], kept[3]["labels"])
    assert not torch.equal(kept[1]["labels"], kept[2]["labels"])
    samples = clients.client_data(0)
    assert samples.bags is not None
    bags = samples.split("labelled").view(-1, 4)
    rows = bags[bags[:, 0].argsort()].flatten()
    assert set(updates[0].arrays) == {"arrays"}  # labels stay

    def by_hand(points: Tensor) -> Tensor:
        pairs = together(
            len(rows),
            bag_pairs(len(rows), 4, 10.0),
            neighbour_pairs(points.double().flatten(start_dim=1), 4, 10.0),
        )
        unaries = bag_unaries(samples.labels[rows], 4, 10.0)
        return marginals(unaries, pairs, iterations=100, damping=0.5).float()

    inputs = clients.preprocess.inputs(samples.inputs[rows])
    torch.testing.assert_close(kept[0]["labels"][rows], by_hand(inputs), atol=1e-5, rtol=1e-4)
    task = clients.trainer.task
    state = task.split(task.initial)
    features, _ = task.features_and_outputs(*state, inputs)
    torch.testing.assert_close(
        kept[2]["labels"][rows], by_hand(features.detach()), atol=1e-4, rtol=1e-3
    )


def test_a_step_minimises_both_terms() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.1}}
    strategy = {"name": "llp_bp", "times": 1, "bag_term": 0.3}
    clients = runtime(scenario(training=training, strategy=strategy))
    (update,) = rounds(clients, 1)
    samples, model = clients.client_data(0), clients.trainer.task.model
    rows = samples.split("labelled")
    outputs = model(clients.preprocess.inputs(samples.inputs[rows]))
    soft = update.client_state[FOUND]["labels"][rows]
    of_bags = ProportionLoss().of_bags(4).value(outputs, samples.labels[rows], rows, {})
    loss = cross_entropy(outputs, soft) + 0.3 * of_bags
    grads = torch.autograd.grad(loss, list(model.parameters()))
    for (name, before), grad in zip(model.named_parameters(), grads, strict=True):
        torch.testing.assert_close(update.arrays["arrays"][name], before.detach() - 0.1 * grad)


@pytest.mark.slow_except("fedprox")
@pytest.mark.parametrize("base", ["fedprox", "scaffold", "fedbn", "fedrep"])
def test_it_goes_in_front_of_others(base: str, tmp_path: Path) -> None:
    model = {"name": "small_cnn", "widths": [4, 4, 4]}
    chosen = scenario(strategy={"name": "llp_bp", "base": base}, model=model, rounds=2)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert run.finished
    assert not (run.folder / "failures.csv").exists()
    assert np.isfinite(run.history.value).all()


@pytest.mark.slow
def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    chosen = scenario(rounds=4)
    simulate(chosen, out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", progress=False, callbacks=[At(3, stop)])
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": {"batch_size": 16, "remainder": "drop"}}, "drop leaves bags out of a pass"),
        ({"strategy": {"name": "llp_bp", "times": 3}}, "cannot be found 3 times in 2 rounds"),
        ({"model": "linear"}, "llp_bp needs features"),
        ({"strategy": {"name": "llp_bp", "base": "fedheal"}}, "one method can stand before"),
        (
            {
                "partition": {"clients": 3, "label_proportions": {"bag_size": "client"}},
                "training": {"batch_size": "full"},
            },
            "between all pairs of a bag",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(scenario(**changes))


def test_it_needs_bags_and_a_base_that_can_do_with_them() -> None:
    with pytest.raises(ValueError, match=r"'llp_bp' goes with partition.label_proportions"):
        toy.scenario(strategy="llp_bp")
    with pytest.raises(ValueError, match=r"strategy.base: 'fedproto' goes with data.target class"):
        scenario(strategy={"name": "llp_bp", "base": "fedproto"})
    with pytest.raises(ValueError, match=r"write strategy.base.weighting"):
        scenario(strategy={"name": "llp_bp", "weighting": "uniform"})
