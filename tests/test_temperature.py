"""Temperature scaling: by hand, against a grid, and on a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab.adaptation.score_calibration import fit_biased, fit_temperature
from fedlab.adaptation.temperature import temperature_scaling
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy


def test_it_is_what_algebra_and_a_grid_say() -> None:
    # The loss is least where softmax((2, 0) / T) is (0.7, 0.3).
    outputs, labels = torch.tensor([[2.0, 0.0]] * 10), torch.tensor([0] * 7 + [1] * 3)
    assert fit_temperature(outputs, labels) == pytest.approx(2 / math.log(7 / 3), rel=1e-6)

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (300,), generator=generator)
    outputs = 3 * torch.randn(300, 4, generator=generator)
    outputs[torch.arange(300), labels] += 2
    grid = torch.linspace(0.5, 8, 1501, dtype=torch.float64)
    logs = (outputs.double() / grid[:, None, None]).log_softmax(dim=2)
    losses = -logs[:, torch.arange(300), labels].mean(dim=1)
    found = fit_temperature(outputs, labels)
    assert found == pytest.approx(float(grid[losses.argmin()]), abs=0.005)
    for size in (1e-4, 1e4):
        assert fit_temperature(outputs * size, labels) == pytest.approx(found * size, rel=1e-4)


def test_biases_give_every_class_its_share() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(400).remainder(7).clamp(max=3)  # three classes are rarer than the fourth
    outputs = torch.randn(400, 4, generator=generator)
    outputs[torch.arange(400), labels] += 1
    found = fit_biased(outputs * 50, labels)
    chances = found.logs(outputs * 50).exp()
    shares = labels.bincount().double() / 400
    torch.testing.assert_close(chances.mean(dim=0), shares, rtol=0, atol=1e-5)
    assert found.biases[3] > found.biases[:3].max() + 0.5
    at_best = cross_entropy(found.logs(outputs * 50), labels)
    for factor in (0.97, 1.03):
        other = found._replace(temperature=found.temperature * factor)
        assert cross_entropy(other.logs(outputs * 50), labels) > at_best
    with pytest.raises(InputError, match="too few for a temperature and 2 biases"):
        fit_biased(torch.tensor([[1.0, 0], [3, 0], [0, 1]]), torch.tensor([1, 0, 1]))


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 0, 1], "all of 3 validation samples are classified rightly"), ([1, 1, 0], "guessing")],
)
def test_without_a_best_one_it_is_refused(labels: list[int], words: str) -> None:
    outputs = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    with pytest.raises(InputError, match=words):
        fit_temperature(outputs, torch.tensor(labels))


def finished(folder: Path, **fields: Any) -> Run:
    return simulate(toy.scenario(**fields), out=folder, progress=False)


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = {"sources": [{"name": "helpers.toy:Stripes", "domains": 4}], "image_size": 8}
    return finished(
        tmp_path_factory.mktemp("runs") / "run",
        data=data,
        partition={"clients": 4, "held_out_clients": [3]},
        model={"name": "mlp", "hidden": [16]},
        evaluation={"validation": 0.3},
    )


def test_logits_are_divided_by_what_suits_validation_samples(validated: Run) -> None:
    found = temperature_scaling(validated)
    model, prepared = validated.model(), prepare(validated.scenario)
    pool, test = prepared.data.train, prepared.data.test
    rows = np.concatenate([prepared.partition[k].validation for k in range(3)])
    assert found.samples == len(rows)
    with torch.no_grad():
        outputs = model(torch.from_numpy(pool.inputs[rows]))
        tested = model(torch.from_numpy(test.inputs))
    own = fit_temperature(outputs, torch.from_numpy(pool.labels[rows]))
    assert found.temperature == pytest.approx(own, rel=1e-4)
    nll, accuracy = (found.table[found.table.metric == name] for name in ("nll", "accuracy"))
    labels = torch.from_numpy(test.labels)
    for values, logits in ((nll.before, tested), (nll.after, tested / own)):
        losses = cross_entropy(logits, labels, reduction="none").view(4, -1).mean(dim=1)
        assert values.tolist() == pytest.approx(losses.tolist(), rel=1e-4)
    assert accuracy.before.tolist() == accuracy.after.tolist()
    assert set(found.table.metric) == {"nll", "ece", "brier", "accuracy"}
    for bins in found.bins:
        assert int(bins["samples"].sum()) == len(test.labels)
    assert not torch.equal(found.bins[0]["confidence"], found.bins[1]["confidence"])


def test_the_command_shows_writes_and_draws(validated: Run, tmp_path: Path, run: Any) -> None:
    file, picture = tmp_path / "table.csv", tmp_path / "reliability.png"
    words = ["calibrate", validated.folder, "--method", "temperature"]
    code, said, _ = run(*words, "--out", file, "--picture", picture)
    assert code == 0
    assert "divide logits by it" in said
    assert "so does every prediction" in said
    assert len(pandas.read_csv(file)) == 16
    assert picture.stat().st_size > 5000
    code, _, said = run(*words, "--steps", "3")
    assert code == 2
    assert said.startswith("error: --steps: --method temperature has no such option")
    code, _, said = run("calibrate", validated.folder, "--picture", picture)
    assert code == 2
    assert "--picture: it is of --method temperature" in said


def test_training_samples_do_not_do(tmp_path: Path) -> None:
    without = finished(tmp_path / "run", model={"name": "mlp", "hidden": [4]}, rounds=1)
    with pytest.raises(InputError, match="has no validation samples, and a temperature"):
        temperature_scaling(without)
