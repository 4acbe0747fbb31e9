"""What is done with a finished run: personalising its model, auditing its clients' labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import fedlab
from fedlab.adaptation import confident_learning as confident
from fedlab.adaptation import personalise as personalise_module
from fedlab.adaptation.audit import Audit, audit, out_of_sample
from fedlab.adaptation.personalise import personalise
from fedlab.cli import app
from fedlab.errors import InputError
from fedlab.report.terminal.audit_table import print_audit
from helpers.toy import scenario

pytestmark = pytest.mark.xdist_group("adaptation")  # what is made for all of them is made once


def finished(folder: Path, **fields: Any) -> fedlab.Run:
    return fedlab.simulate(scenario(**fields), out=folder, progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    """A run that has learnt little of three domains, and nothing of a fourth."""
    data = {
        "sources": [{"name": "helpers.toy:Stripes", "domains": 4}],
        "image_size": 8,
        "unseen_domains": ["d3"],
    }
    model = {"name": "mlp", "hidden": [16]}
    return finished(tmp_path_factory.mktemp("runs") / "run", data=data, model=model)


# ---------------------------------------------------------------------- personalisation


@pytest.mark.parametrize("method", ["fine_tune", "lp_ft"])
def test_few_labels_make_a_model_its_clients_own(run: fedlab.Run, method: str) -> None:
    table = personalise(run, method=method, shots=5, lr=1e-2, head_lr=1e-2, steps=40)  # type: ignore[arg-type]
    assert table.client.tolist() == [0, 1, 2]
    assert table.domain.tolist() == ["d0", "d1", "d2"]
    assert (table.shots == 20).all()
    assert (table.examples == 20).all()
    assert table.after.mean() > table.before.mean() + 0.2
    again = personalise(run, method=method, shots=5, lr=1e-2, head_lr=1e-2, steps=40)  # type: ignore[arg-type]
    pandas.testing.assert_frame_equal(table, again)


def test_who_never_trained_is_tested_as_in_the_run(tmp_path: Path) -> None:
    some = {"strategy": "ditto", "rounds": 1, "participation": {"fraction": 0.34}}
    run = finished(tmp_path / "run", model={"name": "mlp", "hidden": [8]}, **some)
    history = run.history
    tests = history[(history.split == "test") & (history.metric == "accuracy")]
    trained = set(history[history.split == "train"].client)
    table = personalise(run, steps=1)
    assert set(table.client) > trained
    for row in table.itertuples():
        assert row.before == tests[tests.client == row.client].value.item()
        if row.client not in trained:
            with pytest.raises(InputError, match=f"client {row.client} .* has not trained"):
                run.model_state(row.client)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"head_lr": -1.0}, {"steps": 0}, {"shots": -1}])
def test_numbers_that_are_none_are_refused(run: fedlab.Run, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}: .* must be above 0"):
        personalise(run, **wrong)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"lr": float("inf")}, "--lr: inf must be between 1e-30"),
        ({"method": "fine_tune", "lr": 1e30}, r"--lr: with 1e\+30 the model is no longer finite"),
    ],
)
def test_a_model_that_is_no_longer_finite_has_no_accuracy(
    run: fedlab.Run, rates: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        personalise(run, **{"steps": 5, **rates})


def test_before_is_what_the_run_ended_with(run: fedlab.Run) -> None:
    table = personalise(run, steps=1)
    last = run.history.query(
        "split == 'test' and metric == 'accuracy' and client >= 0 and round == 2"
    )
    assert table.before.tolist() == pytest.approx(last.value.tolist())


def test_the_global_model_goes_to_an_unseen_domain(run: fedlab.Run) -> None:
    table = personalise(run, domain="d3", shots=None, lr=1e-2, head_lr=1e-2, steps=40)
    assert table.client.tolist() == [-1]
    assert table.shots.tolist() == [40]
    assert table.after[0] > table.before[0]


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    """A run whose network has batch normalisation, and so running statistics."""
    return finished(tmp_path_factory.mktemp("runs") / "run", model={"name": "small_cnn"})


def test_only_the_head_moves_while_it_is_probed(
    normalised: fedlab.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first stage leaves differs from what it was given in the head alone."""
    seen: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    train_one = personalise_module.train_one

    def spy(trainer: Any, preprocess: Any, received: Any, *args: Any, **kwargs: Any) -> Any:
        update, metrics = train_one(trainer, preprocess, received, *args, **kwargs)
        seen.append((dict(received.model), update.arrays["arrays"]))
        return update, metrics

    monkeypatch.setattr(personalise_module, "train_one", spy)
    personalise(normalised, lr=1e-2, head_lr=1e-2, steps=3)
    probing, tuning = seen[0::2], seen[1::2]  # the two stages of every client
    head = set(list(probing[0][0])[-2:])
    for before, after in probing:
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == head
    for before, after in tuning:
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert any("running_mean" in name for name in moved)
        assert moved >= head


def test_a_step_of_no_length_changes_nothing(run: fedlab.Run) -> None:
    nothing = personalise(run, method="fine_tune", lr=1e-12, steps=1)
    assert nothing.before.tolist() == nothing.after.tolist()


def test_what_cannot_be_personalised_is_refused(run: fedlab.Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no domain 'd9'"):
        personalise(run, domain="d9")
    local = finished(tmp_path / "fedbn", strategy="fedbn")
    with pytest.raises(InputError, match="no global model"):
        personalise(local, domain="d0")
    (tmp_path / "fedbn" / "finished.json").unlink()
    with pytest.raises(InputError, match="has not finished"):
        personalise(fedlab.load_run(tmp_path / "fedbn"))


def test_the_command_shows_and_writes_the_table(run: fedlab.Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    words = ["personalise", str(run.folder), "--steps", "2", "--out", str(file)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "before" in done.output
    assert len(pandas.read_csv(file)) == 3
    wrong = CliRunner().invoke(app, ["personalise", str(run.folder), "--method", "magic"])
    assert isinstance(wrong.exception, InputError)


# ---------------------------------------------------------------------- confident learning

CHANCES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
GIVEN = np.array([0, 0, 0, 1, 1])


def test_thresholds_joint_and_noise_by_hand() -> None:
    counts, sums = confident.threshold_sums(CHANCES, GIVEN)
    limits = confident.thresholds(counts, sums)
    assert limits.tolist() == pytest.approx([1.7 / 3, 0.8])
    suggested = confident.suggested_labels(CHANCES, limits)
    assert suggested.tolist() == [0, 0, 1, -1, 1]
    joint = confident.confident_joint(suggested, GIVEN, 2)
    assert joint.tolist() == [[2, 1], [0, 1]]
    # Rows scaled to 3 and 2 samples: [2, 1] and [0, 2], of 5.
    expected = np.array([[0.4, 0.2], [0.0, 0.4]])
    np.testing.assert_allclose(confident.calibrated_joint(joint, counts), expected)


def test_thresholds_of_a_federation_are_those_of_its_pooled_samples() -> None:
    parts = [confident.threshold_sums(CHANCES[rows], GIVEN[rows]) for rows in ([0, 3], [1, 2, 4])]
    counts, sums = (np.sum(values, axis=0) for values in zip(*parts, strict=True))
    pooled = confident.thresholds(*confident.threshold_sums(CHANCES, GIVEN))
    np.testing.assert_allclose(confident.thresholds(counts, sums), pooled)


def test_a_class_without_samples_is_never_suggested() -> None:
    chances = np.array([[0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    limits = confident.thresholds(*confident.threshold_sums(chances, np.array([0, 1])))
    assert limits[2] == np.inf
    assert confident.suggested_labels(chances, limits).tolist() == [0, 1]


def test_a_sample_is_predicted_by_others() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = random.normal(size=(200, 3)) + 4 * labels[:, None]
    labels[7] = 1 - labels[7]
    chances = out_of_sample(features, labels, 3, 5, seed=0)
    assert chances[7, labels[7]] < 0.1
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances[:, 2] == 0).all()


@pytest.mark.parametrize("labels", [[1], [1, 1, 1]])
def test_one_sample_or_one_class_cannot_be_predicted(labels: list[int]) -> None:
    chances = out_of_sample(np.ones((len(labels), 2)), np.array(labels), 4, 5, seed=0)
    assert (chances == 0.25).all()


def test_wrong_labels_are_found(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "data": {"sources": [{"name": "helpers.toy:Stripes", "train": 200}], "image_size": 8},
        "partition": {"clients": 3, "label_noise": {"name": "symmetric", "rate": 0.2}},
        "model": {"name": "mlp", "hidden": [16]},
        "rounds": 3,
    }
    run = finished(tmp_path / "noisy", **fields)
    found = audit(run)
    assert len(found.samples) == 600
    assert found.precision > 0.75
    assert found.recall > 0.6
    wrong = (found.samples.given != found.samples.true).mean()
    assert found.noise == pytest.approx(wrong, abs=0.05)
    assert 0.5 < found.accuracy <= 1 - wrong + 0.1  # who is right about a wrong label is wrong
    pandas.testing.assert_frame_equal(found.samples, audit(run).samples)

    file = tmp_path / "audit.csv"
    done = CliRunner().invoke(app, ["audit", str(run.folder), "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert "of the flagged ones" in done.output
    assert len(pandas.read_csv(file)) == 600


def test_without_known_noise_no_share_of_wrong_labels_is_shown() -> None:
    rows = {"client": [0, 0], "given": [1, 2], "true": [1, 2], "flagged": [True, False]}
    console = Console(record=True, width=100)
    print_audit(Audit(pandas.DataFrame(rows), np.ones(2), np.diag([0.5, 0.25]), 0.7), console)
    said = console.export_text()
    assert "estimated share of wrong labels 0.250" in said
    assert "of the flagged ones" not in said
    assert "wrong" not in said.splitlines()[0]


@pytest.mark.parametrize(
    ("right", "accuracy", "doubt"),
    [
        (0.59, 0.27, "to only 27% of the samples that they have not seen"),
        (0.59, 0.70, "disagree with 30% of the labels, which is less than the estimate"),
        (0.80, 0.75, ""),
    ],
)
def test_an_estimate_stands_beside_how_good_its_classifiers_are(
    right: float, accuracy: float, doubt: str
) -> None:
    rows = {"client": [0, 0], "given": [1, 2], "true": [1, 2], "flagged": [True, False]}
    joint = np.array([[right / 2, 1 - right], [0.0, right / 2]])
    found = Audit(pandas.DataFrame(rows), np.ones(2), joint, accuracy)
    assert found.noise == pytest.approx(1 - right)
    assert doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)
    console = Console(record=True, width=400)
    print_audit(found, console)
    said = console.export_text()
    assert f"the classifiers behind it agree with {accuracy:.3f} of unseen labels" in said
    assert ("not to be relied on: " in said) == bool(doubt)
