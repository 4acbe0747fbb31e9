"""GGEUR held against a second implementation, in NumPy: moments, draws, and what they gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.evidence import ggeur_by_hand as by_hand
from benchmarks.evidence.ggeur_by_hand import Client
from fedlab import Run, Scenario, prepare, simulate
from fedlab.clients.ggeur import moments_record
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.federation.client_updates import ClientUpdate
from fedlab.runs.checkpoint import load_client_state
from fedlab.strategies.ggeur import GGEURParameters, pool

FEATURES, CLASSES, FILL, AROUND = 24, 6, 120, 40
ROUNDS, STEPS, BATCH, LR = 12, 20, 32, 0.05


class LongClouds(Source):
    """A cloud for each class, long along directions that all classes share."""

    name: str = "test_ggeur_by_hand:LongClouds"
    sample: int = 0

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """One domain, with 25 samples of a class for training and 200 for tests."""
        fixed = np.random.default_rng(5)
        centres = fixed.normal(0, 1.0, (CLASSES, FEATURES))
        shape = fixed.normal(0, 1, (FEATURES, FEATURES)) * np.linspace(1.2, 0.1, FEATURES)
        random = np.random.default_rng([6, self.sample])

        def draw(each: int) -> Client:
            labels = np.repeat(np.arange(CLASSES), each)
            noise = random.normal(size=(len(labels), FEATURES)) @ shape.T
            return (centres[labels] + noise).astype(np.float32), labels

        return [Domain("clouds", *draw(25), *draw(200), tuple("abcdef"))]


def scenario(strategy: Any, seed: int = 0) -> Scenario:
    """Five clients with few of the classes each."""
    return Scenario.model_validate(
        {
            "name": "clouds",
            "rounds": ROUNDS,
            "seed": seed,
            "data": {
                "sources": [{"name": "test_ggeur_by_hand:LongClouds", "sample": seed}],
                "normalisation": {"mean": 0.0, "std": 1.0},
            },
            "partition": {
                "clients": 5,
                "labels": {"name": "dirichlet", "alpha": 0.1, "min_samples": 5},
            },
            "model": "linear",
            "strategy": strategy,
            "training": {"local_steps": STEPS, "batch_size": BATCH, "optimizer": {"lr": LR}},
            "evaluation": {"every": ROUNDS},
            "resources": {"backend": "local"},
        }
    )


GGEUR = {"name": "ggeur", "per_class": FILL, "per_prototype": AROUND}


def clients_of(seed: int = 0) -> tuple[list[Client], Client]:
    """Each client's samples, and the test set, as the engine has them."""
    prepared = prepare(scenario("fedavg", seed))
    train, test = prepared.data.train, prepared.data.test
    splits = [prepared.partition[client] for client in range(5)]
    clients = [(np.asarray(train.inputs)[each.train], np.asarray(each.labels)) for each in splits]
    return clients, (np.asarray(test.inputs), np.asarray(test.labels))


def run(folder: Path, strategy: Any, seed: int = 0) -> Run:
    return simulate(scenario(strategy, seed), out=folder, progress=False)


def test_moments_are_the_engines() -> None:
    clients, _ = clients_of()
    sent = [
        moments_record(torch.tensor(x), torch.tensor(y), GGEURParameters(), torch.Generator())
        for x, y in clients
    ]
    answers = [ClientUpdate(client, {"moments": each}) for client, each in enumerate(sent)]
    engine = pool(answers)
    ours = by_hand.pooled([by_hand.moments(client) for client in clients])
    assert list(engine) == list(ours)
    for label, cloud in ours.items():
        assert engine[label].count == cloud.count
        np.testing.assert_allclose(engine[label].mean, cloud.mean, atol=1e-5)
        np.testing.assert_allclose(engine[label].covariance, cloud.covariance, atol=1e-4)


def test_draws_are_as_many_as_the_engines_and_spread_alike(tmp_path: Path) -> None:
    clients, _ = clients_of()
    done = run(tmp_path / "run", GGEUR)
    known = [by_hand.moments(client) for client in clients]
    noise = by_hand.factors(by_hand.pooled(known))
    random = np.random.default_rng(0)
    for place, client in enumerate(clients):
        drawn = load_client_state(done.folder / "checkpoints", place)["synthetic"]
        others = [each for other, each in enumerate(known) if other != place]
        features, labels = by_hand.augmented(client, noise, FILL, random, others, AROUND)
        ours = features[len(client[1]) :], labels[len(client[1]) :]
        for label in noise:
            theirs = drawn["inputs"][drawn["labels"] == label].numpy()
            mine = ours[0][ours[1] == label]
            assert len(theirs) == len(mine)
            if len(mine) > 100:
                # A mean of n draws has the standard error of their spread over √n.
                error = np.sqrt(2 * mine.var(0) / len(mine))
                assert (np.abs(theirs.mean(0) - mine.mean(0)) < 4.5 * error).all()
                assert np.trace(np.cov(theirs.T)) == pytest.approx(
                    np.trace(np.cov(mine.T)), rel=0.25
                )


@pytest.mark.slow
def test_the_gain_is_the_engines(tmp_path: Path) -> None:
    """Mean gain of draws over FedAvg in eight seeds, by the engine and by hand."""
    gains: dict[str, list[float]] = {"engine": [], "by hand": []}
    for seed in range(8):
        clients, test = clients_of(seed)
        plain, with_draws = (
            100 * run(tmp_path / f"{name}-{seed}", strategy, seed).summary()["global_value"].iloc[0]
            for name, strategy in (("fedavg", "fedavg"), ("ggeur", GGEUR))
        )
        gains["engine"].append(with_draws - plain)
        known = [by_hand.moments(client) for client in clients]
        noise, random = by_hand.factors(by_hand.pooled(known)), np.random.default_rng(seed)
        more = [
            by_hand.augmented(
                client, noise, FILL, random, [each for each in known if each is not own], AROUND
            )
            for client, own in zip(clients, known, strict=True)
        ]
        found = [
            by_hand.accuracy(by_hand.train(c, CLASSES, ROUNDS, STEPS, BATCH, LR, random), test)
            for c in (clients, more)
        ]
        gains["by hand"].append(found[1] - found[0])
    engine, ours = (np.array(gains[name]) for name in ("engine", "by hand"))
    apart = engine - ours
    assert engine.mean() > 0
    assert ours.mean() > 0
    assert abs(apart.mean()) < 3 * max(apart.std(ddof=1), 0.5) / np.sqrt(len(apart))
