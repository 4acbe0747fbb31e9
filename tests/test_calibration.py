"""Calibration after training: moments of all clients are exact, and the last layer learns alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlab.adaptation.calibrate import calibrate, draw
from fedlab.errors import InputError
from fedlab.models.eigenspace import Moments
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy

CNN = {"name": "small_cnn", "widths": [4, 4, 6]}
DEEP = {"name": "mlp", "hidden": [12, 6]}
SKEWED = {"clients": 6, "labels": {"name": "classes_per_client", "count": 1}}


def run_of(folder: Path, **changes: Any) -> Run:
    fields: dict[str, Any] = {"model": DEEP, "partition": SKEWED, "rounds": 4} | changes
    return simulate(toy.scenario(**fields), out=folder / "run", progress=False)


def test_draws_have_the_moments_of_their_class() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(5, 3, generator=generator) @ torch.tensor(
        [[2.0, 0, 0], [1, 1, 0], [0, 0, 0.1]]
    ) + torch.tensor([5.0, 0, -1])
    clouds = {4: Moments.of(samples), 7: Moments.of(samples[:1])}
    features, labels = draw(clouds, 20000, generator)
    assert labels.bincount().tolist() == [0, 0, 0, 0, 20000, 0, 0, 20000]
    own = features[labels == 4]
    torch.testing.assert_close(own.mean(dim=0), samples.mean(dim=0), rtol=0.02, atol=0.02)
    torch.testing.assert_close(own.T.cov(), samples.T.cov(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(features[labels == 7], samples[:1].expand(20000, -1))


def test_the_moments_are_those_of_all_samples_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = SKEWED | {"labels": {"name": "classes_per_client", "count": 2}}
    run = run_of(tmp_path, model=CNN, partition=two)
    seen: dict[int, Moments] = {}

    def watched(clouds: dict[int, Moments], *rest: Any) -> Any:
        seen.update(clouds)
        return draw(clouds, *rest)

    monkeypatch.setattr("fedlab.adaptation.calibrate.draw", watched)
    found = calibrate(run, steps=1)
    prepared = prepare(run.scenario)
    body = nn.Sequential(*list(prepared.model.eval().children())[:-1])
    prepared.model.load_state_dict(run.model_state())
    pool = prepared.data.train
    with torch.no_grad():
        features = body(torch.from_numpy(pool.inputs).float() / 127.5 - 1).double()
    rows = torch.from_numpy(np.concatenate([prepared.partition[k].train for k in range(6)]))
    features, labels = features[rows], torch.from_numpy(pool.labels)[rows]
    assert list(seen) == [0, 1, 2, 3]
    for label, cloud in seen.items():
        own = features[labels == label]
        assert cloud.count == len(own)
        torch.testing.assert_close(cloud.mean, own.mean(dim=0), rtol=1e-4, atol=1e-5)
        covariance = own.T.cov(correction=0)
        torch.testing.assert_close(cloud.covariance, covariance, rtol=1e-3, atol=1e-5)
    most = max(len(set(pool.labels[prepared.partition[k].train])) for k in range(6))
    assert found.bytes_up == most * (8 + 8 + 4 * (6 + 21))


def test_the_last_layer_alone_changes_and_is_better_for_it(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    found = calibrate(run, per_class=200, steps=300, lr=0.05)
    before = run.model_state()
    changed = [name for name in before if not torch.equal(before[name], found.model[name])]
    assert changed == ["5.weight", "5.bias"]
    table = found.table
    assert table.domain.tolist() == ["d0", "d1", "d2"]
    assert table.examples.tolist() == [20, 20, 20]
    prepared = prepare(run.scenario)
    pool, model = prepared.data.test, prepared.model.eval()
    for state, values in ((before, table.before), (found.model, table.after)):
        model.load_state_dict(state)
        with torch.no_grad():
            outputs = model(torch.from_numpy(pool.inputs).float() / 127.5 - 1)
        right = (outputs.argmax(dim=1) == torch.from_numpy(pool.labels)).double()
        assert values.tolist() == pytest.approx(right.view(3, 20).mean(dim=1).tolist())
    assert table.after.mean() > table.before.mean() + 0.1
    again = calibrate(run, per_class=200, steps=300, lr=0.05)
    assert torch.equal(again.model["5.weight"], found.model["5.weight"])


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"strategy": "fedper"}, {}, "fedper, whose clients have local models"),
        ({"strategy": "ifca"}, {}, "ifca, whose clients have local models"),
        ({}, {"lr": 0}, "--lr: 0 must be above 0"),
        ({}, {"lr": float("inf")}, "--lr: inf must be between 1e-30"),
        ({}, {"per_class": 0}, "--per-class: 0 must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    changes: dict, arguments: dict, words: str, tmp_path: Path
) -> None:
    run = run_of(tmp_path, **changes, rounds=1)
    with pytest.raises(InputError, match=words):
        calibrate(run, **arguments)
