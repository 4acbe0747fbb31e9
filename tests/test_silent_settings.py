"""A setting without effect is refused, or said: nothing that a user asks for is passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlab
from fedlab import InputError, Run, cli
from fedlab.adaptation.adapt_test import adapt_test
from fedlab.adaptation.audit import audit
from fedlab.adaptation.calibrate import calibrate
from fedlab.adaptation.personalise import personalise
from fedlab.adaptation.temperature import temperature_scaling
from fedlab.unlearning.forget import forget
from helpers.toy import scenario

DEVICE = {"samples_per_second": 100, "download_mbps": 1, "upload_mbps": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two rounds."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return fedlab.simulate(scenario(model="linear"), out=folder, progress=False)


@pytest.mark.parametrize(
    ("method", "option", "other"),
    [("head", "--lr", "fine_tune"), ("fine_tune", "--head-lr", "head")],
)
def test_a_rate_of_no_stage_is_refused(run: Run, method: str, option: str, other: str) -> None:
    words = ["personalise", str(run.folder), "--method", method, "--steps", "1", option, "0.1"]
    done = CliRunner().invoke(cli.app, words)
    assert isinstance(done.exception, InputError)
    said = str(done.exception)
    assert said == f"{option}: {method} has no such option, lp_ft and {other} have; leave it out"
    words[words.index(method)] = "lp_ft"
    assert CliRunner().invoke(cli.app, words, catch_exceptions=False).exit_code == 0


def test_changes_of_a_finished_run_that_come_too_late_are_said(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    fedlab.resume(run.folder, ["resources.backend=local"], progress=False)
    assert not caplog.messages
    fedlab.resume(run.folder, ["evaluation.metrics=[f1]"], progress=False)
    (said,) = caplog.messages
    assert said.startswith("evaluation.metrics: the run ")
    assert "has no effect on it; add rounds=3 or more" in said


def test_what_may_not_change_in_a_run_with_validation_is_said(tmp_path: Path) -> None:
    asked = scenario(model="linear", evaluation={"validation": 0.2})
    done = fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"of evaluation not every, metrics, patience, select"):
        fedlab.resume(done.folder, ["rounds=3", "evaluation.every=2"], progress=False)


@pytest.mark.parametrize(
    ("key", "value", "but", "reason"),
    [
        ("strategy", {"name": "centralised", "weighting": "uniform"}, None, "the one client"),
        ("updates", {"compression": {"name": "none", "feedback": True}}, None, "without compress"),
        (
            "devices",
            {"profiles": [DEVICE], "period": 5.0},
            {"profiles": [DEVICE | {"availability": 0.5}], "period": 5.0},
            "every profile is available",
        ),
        (
            "partition",
            {"clients": 3, "label_budget": {"stratified": False}},
            {"clients": 3, "label_budget": {"stratified": False, "share": 0.5}},
            "share and positives are 1",
        ),
    ],
)
def test_a_setting_that_another_makes_idle_is_refused(
    key: str, value: dict[str, Any], but: dict[str, Any] | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"would have no effect: {reason}"):
        scenario(**{key: value})
    if but is not None:
        scenario(**{key: but})


def test_the_address_of_a_cluster_that_is_not_used_is_refused(tmp_path: Path) -> None:
    asked = scenario(model="linear", resources={"backend": "local", "address": "auto"})
    with pytest.raises(InputError, match=r"resources.address: 'auto' would have no effect.*=null"):
        fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    done = fedlab.simulate(asked, ["resources.address=null"], out=tmp_path / "run", progress=False)
    assert done.finished


@pytest.mark.parametrize(("fraction", "idle"), [(1.0, True), (0.67, False)])
def test_over_selection_of_all_clients_is_said(
    fraction: float, idle: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    devices = {"profiles": [DEVICE], "over_selection": 1.5}
    asked = scenario(model="linear", devices=devices, participation={"fraction": fraction})
    fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    assert any("devices.over_selection: 1.5 has no effect" in m for m in caplog.messages) == idle


@pytest.mark.parametrize(("dropout", "lost"), [(0.999999, True), (0.0, False)])
def test_a_run_whose_replies_are_all_lost_is_no_result(
    dropout: float, lost: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    devices = {"profiles": [DEVICE], "dropout": dropout}
    fedlab.simulate(scenario(model="linear", devices=devices), out=tmp_path / "run", progress=False)
    said = [message for message in caplog.messages if "the run is no result" in message]
    assert bool(said) == lost
    assert all("late or never came (devices.deadline, devices.dropout)" in one for one in said)


@pytest.mark.parametrize(
    "verb",
    [
        personalise,
        audit,
        calibrate,
        temperature_scaling,
        lambda run: adapt_test(run, method="tent"),
        lambda run: forget(run, 1),
    ],
)
def test_what_is_of_classes_is_refused_where_clients_know_none(
    verb: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "whose"
    if not folder.exists():
        partition = {"clients": 3, "known_label": "client"}
        fedlab.simulate(scenario(partition=partition), out=folder, progress=False)
    with pytest.raises(InputError, match=r"know no classes \(partition.known_label: client\)"):
        verb(fedlab.load_run(folder))


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("personalise", "--out"),
        ("calibrate", "--out"),
        ("adapt-test", "--out"),
        ("adapt-test", "--priors"),
        ("audit", "--out"),
        ("discover", "--out"),
        ("discover", "--priors"),
        ("forget", "--table"),
        ("tune", "--write"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    verb: str, option: str, tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "file.csv"
    # The run is not there, either, which is found when the work begins.
    done = CliRunner().invoke(cli.app, [verb, str(tmp_path / "none"), option, str(file)])
    assert isinstance(done.exception, InputError)
    said = str(done.exception)
    assert said.startswith(f"{option}: '{file}' cannot be written: there is no folder '")
    done = CliRunner().invoke(cli.app, [verb, str(tmp_path / "none"), option, str(tmp_path)])
    assert "it is a folder; choose another file" in str(done.exception)
