"""Latent label shift: classes found in clients without labels, by what shifts together (DDFA)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from fedlab.adaptation.discover import discover
from fedlab.adaptation.latent_classes import (
    anchored,
    class_chances,
    domains_of_classes,
    factorise,
    federated_k_means,
    histograms,
    in_domain,
    matched,
    normalised,
    without_prior,
)
from fedlab.cli import app
from fedlab.errors import InputError
from fedlab.preparation import divide, prepare
from fedlab.scenario import Scenario
from fedlab.simulation import simulate
from helpers import toy

PRIORS = np.array([[0.7, 0.2], [0.3, 0.8]])
"""p(y | d): two classes, two domains."""


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "data": {
            "sources": [{"name": "helpers.toy:Stripes", "domains": 1, "train": 1200, "test": 120}],
            "image_size": 8,
        },
        "partition": {
            "clients": 6,
            "labels": {"name": "dirichlet", "alpha": 0.4, "min_samples": 10},
            "known_label": "client",
        },
        "model": {"name": "mlp", "hidden": [16]},
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        "training": {"local_steps": 1, "batch_size": 32, "optimizer": {"lr": 0.5}},
        "evaluation": {"every": 60},
        "rounds": 2,
    }
    return toy.scenario(**fields | changes)


def apart(found: np.ndarray, true: np.ndarray) -> float:
    """The largest difference in the best order of classes."""
    orders = itertools.permutations(range(len(true)))
    return min(float(np.abs(found[list(order)] - true).max()) for order in orders)


# --------------------------------------------------------------------------- arithmetic


def test_golden_values_of_two_domains() -> None:
    wanted = [[0.777778, 0.222222], [0.272727, 0.727273]]
    np.testing.assert_allclose(domains_of_classes(PRIORS), wanted, atol=1e-6)
    chances = np.array([[7 / 9, 2 / 9], [3 / 11, 8 / 11], [0.5 * (7 / 9 + 3 / 11)] * 2])
    chances[2] = 0.5 * (chances[0] + chances[1])
    found = class_chances(chances, PRIORS)
    np.testing.assert_allclose(found, [[1, 0], [0, 1], [0.5, 0.5]], atol=1e-12)
    # p(y | x, d) ∝ p(d | y) p(y | x): 7/9 and 3/11 halved in the first domain.
    here = in_domain(found, PRIORS, 0)[2]
    np.testing.assert_allclose(here, [7 / 9 / (7 / 9 + 3 / 11), 3 / 11 / (7 / 9 + 3 / 11)])
    outside = class_chances(np.array([[1.0, 0.0]]), PRIORS)  # beyond the first class: clipped
    np.testing.assert_allclose(outside, [[1, 0]])


def test_bayes_rule_is_what_it_says() -> None:
    """Three classes, four domains: p(d | x) of five inputs gives p(y | x, d) back."""
    random = np.random.default_rng(0)
    inputs = random.dirichlet(np.ones(5), 3).T  # p(x | y)
    priors = random.dirichlet(np.ones(3), 4).T  # p(y | d)
    joint = inputs @ priors  # p(x | d)
    domains = joint / joint.sum(axis=1, keepdims=True)
    for domain in range(4):
        wanted = inputs * priors[:, domain]
        wanted /= wanted.sum(axis=1, keepdims=True)
        found = in_domain(class_chances(domains, priors), priors, domain)
        np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_prior_of_domains_is_taken_out() -> None:
    uneven = np.array([[0.6, 0.4]])
    even = without_prior(uneven, np.array([0.75, 0.25]))
    np.testing.assert_allclose(even, [[0.8 / 2.4, 1.6 / 2.4]])


def test_factors_keep_their_product_and_are_distributions() -> None:
    random = np.random.default_rng(0)
    left, right = random.random((6, 3)), random.random((3, 4))
    right /= (left @ right).sum(axis=0)
    found = normalised(left, right)
    np.testing.assert_allclose(found.cells.sum(axis=0), 1)
    np.testing.assert_allclose(found.priors.sum(axis=0), 1)
    np.testing.assert_allclose(found.cells @ found.priors, left @ right)


def test_with_anchors_the_factorisation_is_the_truth() -> None:
    """Each class has a cell to itself and a domain: there is one non-negative factorisation."""
    random = np.random.default_rng(3)
    mixed = random.dirichlet(np.ones(5), 3).T * 0.2
    cells = np.concatenate([0.8 * np.eye(3), mixed])
    priors = np.array([[1.0, 0.0, 0.0, 0.3], [0.0, 1.0, 0.0, 0.3], [0.0, 0.0, 1.0, 0.4]])
    found = factorise(cells @ priors, 3, seed=0)
    assert apart(found.priors, priors) < 0.02
    assert found.residual < 1e-4
    by_anchors = anchored(cells @ priors, 3, least=0.05)
    assert apart(by_anchors.priors, priors) < 1e-9
    assert by_anchors.residual < 1e-9


def test_anchors_are_the_truth_where_other_factors_fit_as_well() -> None:
    """Every domain has all classes, so that non-negative factors of the same product abound."""
    cells = np.concatenate([0.7 * np.eye(3), 0.1 * np.ones((3, 3))])
    priors = np.array([[0.5, 0.2, 0.3, 0.3], [0.3, 0.6, 0.2, 0.3], [0.2, 0.2, 0.5, 0.4]])
    by_anchors = anchored(cells @ priors, 3, least=0.05)
    assert apart(by_anchors.priors, priors) < 1e-9
    assert by_anchors.cells.max(axis=0).tolist() == pytest.approx([0.7] * 3)
    other = factorise(cells @ priors, 3, seed=0)
    assert other.residual < 1e-4
    assert apart(other.priors, priors) > 0.05


def test_a_cell_of_few_samples_is_no_anchor() -> None:
    """A cell of a hundredth of the samples, which is further out than any class."""
    cells = np.concatenate([0.99 * np.eye(2), np.zeros((1, 2))])
    priors = np.array([[0.7, 0.4], [0.3, 0.6]])
    shares = cells @ priors
    shares[2] = [0.01, 0.0]
    shares /= shares.sum(axis=0)
    assert apart(anchored(shares, 2, least=0.05).priors, priors) < 0.02
    assert apart(anchored(shares, 2, least=0.0).priors, priors) > 0.05


def test_the_start_with_the_least_residual_counts() -> None:
    shares = np.random.default_rng(1).dirichlet(np.ones(8), 5).T
    one = [factorise(shares, 3, seed=seed, starts=1).residual for seed in range(4)]
    many = factorise(shares, 3, seed=0, starts=8).residual
    assert many <= one[0]
    assert many < max(one)


def test_k_means_does_not_know_whose_points_are_whose() -> None:
    """Lloyd's steps from the same centres are those of all points together."""
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 6.0]])
    points = np.concatenate([centre + 0.3 * random.normal(size=(40, 2)) for centre in centres])
    points = points[random.permutation(120)]
    found = federated_k_means(np.split(points, [10, 55]), 3, seed=0)
    order = np.lexsort(found.centres.round().T)
    wanted = centres[np.lexsort(centres.T)]
    np.testing.assert_allclose(found.centres[order], wanted, atol=0.2)
    squares = ((points[:, None] - found.centres) ** 2).sum(axis=2)
    assert found.inertia == pytest.approx(squares.min(axis=1).sum())
    mean = [points[squares.argmin(axis=1) == cell].mean(axis=0) for cell in range(3)]
    np.testing.assert_allclose(found.centres, mean)
    assert found.steps > 5
    shares = histograms(np.split(points, [10, 55]), found.centres)
    assert shares.shape == (3, 3)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert shares[:, 0] * 10 == pytest.approx(np.bincount(squares[:10].argmin(axis=1), minlength=3))


def test_fewer_points_than_cells_are_no_error() -> None:
    found = federated_k_means([np.zeros((3, 2)), np.ones((2, 2))], 4, seed=0)
    assert found.inertia == 0


def test_classes_are_matched_for_most_right_samples() -> None:
    found, true = np.array([0, 0, 0, 1, 1, 2]), np.array([2, 2, 0, 0, 0, 1])
    assert matched(found, true, 3).tolist() == [2, 0, 1]


# --------------------------------------------------------------------------- what is hidden


def test_a_class_is_whose_a_sample_is() -> None:
    chosen = scenario(evaluation={"validation": 0.2})
    prepared = prepare(chosen)
    _, partition = divide(chosen)
    data = prepared.data
    assert data.class_names == tuple(f"client {k}" for k in range(6))
    for client in range(6):
        own = prepared.partition[client]
        assert (own.labels == client).all()
        assert (data.train.labels[own.validation] == client).all()
        assert (data.test.labels[own.test] == client).all()
        assert own.train.tolist() == partition[client].train.tolist()


def test_no_class_reaches_training() -> None:
    """Nothing of what clients are trained and tested on says a class."""
    prepared = prepare(scenario())
    labels = np.concatenate([prepared.data.train.labels, prepared.partition.labels])
    owners = np.repeat(np.arange(6), np.diff(prepared.partition.train_offsets))
    assert (prepared.data.train.labels[prepared.partition.train] == owners).all()
    assert set(labels.tolist()) == set(range(6))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_budget": {"share": 0.5}}, "partition.label_budget"),
        ({"label_noise": {"name": "symmetric", "rate": 0.1}}, "partition.label_noise"),
        ({"label_proportions": {"bag_size": 4}}, "partition.label_proportions"),
        ({"held_out_clients": 0.2}, "partition.held_out_clients"),
    ],
)
def test_what_is_said_of_classes_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        scenario(partition={"clients": 6, "known_label": "client", **changes})


def test_samples_without_a_client_are_refused() -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8}
    with pytest.raises(InputError, match=r"20 test samples are no client's"):
        prepare(scenario(data=data | {"unseen_domains": ["d2"]}))


# --------------------------------------------------------------------------- a run


def test_classes_come_out_of_who_has_what(tmp_path: Path) -> None:
    run = simulate(scenario(rounds=60), out=tmp_path / "run", progress=False)
    found = discover(run, cells=4)
    assert found.accuracy > 0.95
    assert found.prior_error < 0.01
    assert len(found.samples) == 120
    assert set(found.samples.columns) == {"client", "sample", "found", "confidence", "class"}
    assert sorted(found.matching.tolist()) == [0, 1, 2, 3]
    shares = found.priors.groupby("client")[["true", "estimate"]].sum()
    np.testing.assert_allclose(shares, 1)
    again = discover(run, cells=4)
    assert again.samples.equals(found.samples)
    cells = 4
    steps = (found.bytes_up / 8 - cells) / (cells * 7)
    assert steps == int(steps)
    assert found.bytes_down == 8 * (steps * cells * 6 + 6 * 4)
    files = ["--out", str(tmp_path / "found.csv"), "--priors", str(tmp_path / "priors.csv")]
    result = CliRunner().invoke(app, ["discover", str(run.folder), *files])
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.output
    assert (tmp_path / "found.csv").read_text().startswith("client,sample,found,confidence,class")
    assert len((tmp_path / "priors.csv").read_text().splitlines()) == 25
    for asked, said in (
        ({"classes": 5}, "ask for 2 to 4"),
        ({"cells": 3}, "fewer than 4"),
        ({"starts": 3}, "anchors has no random starts"),
    ):
        with pytest.raises(InputError, match=said):
            discover(run, **asked)


def test_a_run_of_classes_has_none_to_find(tmp_path: Path) -> None:
    run = simulate(toy.scenario(model="linear"), out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"take a run with partition.known_label=client"):
        discover(run)


def test_models_of_clients_are_refused(tmp_path: Path) -> None:
    chosen = scenario(strategy="fedbn", model={"name": "small_cnn", "widths": [4, 4, 4]})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="no global model to discover classes with"):
        discover(run)
