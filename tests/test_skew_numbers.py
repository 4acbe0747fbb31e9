"""Skew in numbers: values by hand and by other libraries, and where they are shown."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon
from typer.testing import CliRunner

from fedlab import InputError, cli
from fedlab.data.samples import FederatedData, Samples
from fedlab.report.feature_skew import feature_skew, frechet, proxy_a_distance, squared_mmd
from fedlab.report.skew_numbers import (
    distributions,
    effective_clients,
    gini,
    hellinger,
    jensen_shannon,
    skew_numbers,
    total_variation,
)

APART = np.array([[1.0, 0], [0, 1]])
CLOSE = np.array([[0.9, 0.1], [0.6, 0.4]])
THREE = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0]])
FOUR = np.eye(4)


@pytest.mark.parametrize(
    ("shares", "divergence", "distance", "variation"),
    [
        (APART, 1, 1, 1),
        (CLOSE, 0.091305, 0.255251, 0.3),
        (THREE, 0.792481, 0.773066, 2 / 3),
        (FOUR, 2, 1, 1),
    ],
)
def test_label_skew_is_what_its_formulas_say(shares, divergence, distance, variation) -> None:
    assert jensen_shannon(shares) == pytest.approx(divergence, abs=1e-6)
    assert hellinger(shares) == pytest.approx(distance, abs=1e-6)
    assert total_variation(shares) == pytest.approx(variation)


def test_of_two_clients_the_divergence_is_the_square_of_scipys_distance() -> None:
    one, other = np.random.default_rng(0).dirichlet(np.ones(7), size=2)
    assert jensen_shannon(np.array([one, other])) == pytest.approx(
        jensenshannon(one, other, base=2) ** 2
    )


@pytest.mark.parametrize(
    ("sizes", "unevenness", "effective"),
    [((10, 10, 10, 10), 0, 4), ((1, 2, 3, 4), 0.25, 100 / 30), ((0, 0, 0, 40), 0.75, 1)],
)
def test_quantity_skew_by_hand(sizes, unevenness, effective) -> None:
    assert gini(np.array(sizes)) == pytest.approx(unevenness)
    assert effective_clients(np.array(sizes)) == pytest.approx(effective)


def test_clients_without_samples_have_no_labels_to_differ_in() -> None:
    counts = np.array([[4, 0], [0, 0], [0, 2]])
    assert distributions(counts).tolist() == [[1, 0], [0, 1]]
    assert skew_numbers(counts)["label skew between clients (total variation)"] == 1
    assert skew_numbers(np.array([[3, 1]]))["label skew (Hellinger)"] == 0


# ---------------------------------------------------------------------- features


def moments(mean: list[float], variances: list[float], count: int = 64) -> np.ndarray:
    """Points with exactly this mean and diagonal covariance (n - 1)."""
    points = np.random.default_rng(0).normal(size=(count, len(mean)))
    points -= points.mean(axis=0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False)).T)
    return white * np.sqrt(variances) + mean


def test_the_frechet_distance_of_two_gaussians() -> None:
    standard, other = moments([0, 0], [1, 1]), moments([1, 0], [4, 1])
    assert frechet(standard, other) == pytest.approx(2.0)
    one, two = np.random.default_rng(1).normal(size=(2, 50, 3)) * [1, 2, 3] + [0, 1, 0]
    root = sqrtm(np.cov(one, rowvar=False) @ np.cov(two, rowvar=False)).real
    expected = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(
        np.cov(one, rowvar=False) + np.cov(two, rowvar=False) - 2 * root
    )
    assert frechet(one, two) == pytest.approx(expected)


def test_the_unbiased_mmd_by_hand() -> None:
    assert squared_mmd(np.array([[0.0], [1]]), np.array([[2.0], [3]]), 1.0) == pytest.approx(
        0.768906, abs=1e-6
    )


def test_the_a_distance_is_0_for_one_distribution_and_2_for_two_that_never_meet() -> None:
    generator = np.random.default_rng(0)
    same = [generator.normal(size=(400, 2)) for _ in range(2)]
    assert proxy_a_distance(*same, seed=0) < 0.3
    assert proxy_a_distance(same[0], same[1] + 100, seed=0) == 2
    # Told apart right in three of four cases: error 1/4.
    assert proxy_a_distance(same[0], same[1] + [1.35, 0], seed=0) == pytest.approx(1, abs=0.2)


def features(*shifts: float) -> FederatedData:
    """Domains of two features, each shifted."""
    count = 200
    inputs = np.concatenate(
        [
            np.random.default_rng(i).normal(size=(count, 2)).astype(np.float32) + shift
            for i, shift in enumerate(shifts)
        ]
    )
    domains = np.repeat(np.arange(len(shifts)), count)
    samples = Samples(inputs, np.zeros(len(inputs), np.int64), domains)
    return FederatedData(samples, samples, tuple("abc"[: len(shifts)]), ("one", "two"))


def test_the_domain_that_differs_is_found() -> None:
    found = feature_skew(features(0.0, 0.0, 3.0), seed=0).set_index(["domain", "other"])
    for measure in ("proxy A-distance", "MMD²", "Fréchet"):
        assert found.loc[("a", "b"), measure] < found.loc[("a", "c"), measure] / 5
    again = feature_skew(features(0.0, 0.0, 3.0), seed=0).set_index(["domain", "other"])
    assert found.equals(again)


def test_images_have_no_features_and_one_domain_no_other() -> None:
    with pytest.raises(InputError, match="there are not two with samples"):
        feature_skew(features(0.0), seed=0)
    images = Samples(np.zeros((8, 1, 2, 2), np.uint8), np.zeros(8, np.int64), np.zeros(8, np.int64))
    with pytest.raises(InputError, match="name an extractor, such as data"):
        feature_skew(FederatedData(images, images, ("a",), ("one",)), seed=0)


def test_the_verb_shows_them(tmp_path, monkeypatch) -> None:
    from helpers.tiny_scenario import write_tiny

    monkeypatch.chdir(tmp_path)
    tiny = str(write_tiny(tmp_path))
    done = CliRunner().invoke(cli.app, ["partition", tiny, "--feature-skew"])
    assert done.exit_code == 0, done.output
    for words in ("Skew of the partition", "effective clients", "Feature skew between domains"):
        assert words in done.output
    refused = CliRunner().invoke(cli.app, ["partition", "smoke", "--feature-skew"])
    assert "name an extractor" in str(refused.exception)
