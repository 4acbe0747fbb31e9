"""``engine.dense_layers: measured``: the form of dense layers that is quickest, timed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.engine.execution import remembered_times
from fedlab.simulation import resume, simulate
from helpers import toy

DENSE = {"name": "mlp", "hidden": [16]}
QUICKEST = {
    "auto": {"auto": 1.0, "dense": 2.0, "low_rank": 2.0},
    "dense": {"auto": 2.0, "dense": 1.0, "low_rank": 2.0},
    "low_rank": {"auto": 2.0, "dense": 2.0, "low_rank": 1.0},
}
LEVEL = {"auto": 1.0, "dense": 0.95, "low_rank": 0.95}


@pytest.fixture(autouse=True)
def quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and one timed call of each way."""
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered_times, "ENOUGH", 1e-9)
    return tmp_path / "cache" / "execution"


def end(out: Path, form: str, **changes: Any) -> dict[str, torch.Tensor]:
    """The last model of a run with a form of dense layers."""
    engine = {"execution": changes.pop("execution", "sequential"), "dense_layers": form}
    scenario = toy.scenario(**{"model": DENSE, "engine": engine, "rounds": 2, **changes})
    return simulate(scenario, out=out, progress=False).model_state()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("execution", ["sequential", "vmap"])
@pytest.mark.parametrize("form", list(QUICKEST))
def test_the_form_that_was_quickest_trains(
    form: str, execution: str, tmp_path: Path, quickly: Path
) -> None:
    end(tmp_path / "first", "measured", execution=execution)
    for kept in quickly.iterdir():
        kept.write_text(json.dumps(QUICKEST[form]))
    measured = end(tmp_path / "measured", "measured", execution=execution)
    assert same(measured, end(tmp_path / "asked", form, execution=execution))


def test_the_rule_decides_between_forms_that_are_about_as_quick(
    tmp_path: Path, quickly: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end(tmp_path / "first", "measured")
    for kept in quickly.iterdir():
        kept.write_text(json.dumps(LEVEL))
    with caplog.at_level("INFO", "fedlab"):
        end(tmp_path / "measured", "measured")
    assert any("dense layers auto (1 client" in line for line in caplog.messages)


@pytest.mark.parametrize("form", ["dense", "low_rank"])
def test_a_resumed_run_keeps_its_form_and_says_it(
    form: str, tmp_path: Path, quickly: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = end(tmp_path / "whole", form)
    end(tmp_path / "half", "measured", rounds=1)
    for kept in quickly.iterdir():
        kept.write_text(json.dumps(QUICKEST[form]))
    end(tmp_path / "run", "measured", rounds=1)
    for kept in quickly.iterdir():  # the opposite of what was chosen
        kept.write_text(json.dumps(QUICKEST["dense" if form == "low_rank" else "low_rank"]))
    with caplog.at_level("INFO", "fedlab"):
        resumed = resume(tmp_path / "run", ["rounds=2"], progress=False).model_state()
    assert same(resumed, whole)
    assert any(line.endswith("as before") for line in caplog.messages)
    (newest,) = (tmp_path / "run").glob("checkpoints/round-000002/checkpoint.json")
    assert json.loads(newest.read_text())["execution"]["dense_layers"] == form


def test_forms_differ_by_rounding_so_that_the_choice_is_seen(tmp_path: Path) -> None:
    ends = [end(tmp_path / form, form) for form in ("dense", "low_rank")]
    assert not same(*ends)
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-5)


def test_it_is_timed_once_and_said(
    tmp_path: Path, quickly: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "fedlab"):
        first = end(tmp_path / "a", "measured")
        kept = {file: file.read_text() for file in quickly.iterdir()}
        again = end(tmp_path / "b", "measured")
    assert kept == {file: file.read_text() for file in quickly.iterdir()}
    assert same(first, again)
    said = [line for line in caplog.messages if line.startswith("training clients one by one")]
    assert len(said) == 2
    assert said[0] == said[1]
    assert "dense layers" in said[0]
    assert "(1 client of up to " in said[0]
    assert [set(json.loads(each)) for each in kept.values()] == [set(QUICKEST)]


@pytest.mark.parametrize(
    "damaged",
    [
        '{"fast": 1.0}',
        "",
        "[]",
        '{"auto": "x", "dense": 1.0, "low_rank": 2.0}',
        '{"auto": NaN, "dense": 1.0, "low_rank": 2.0}',
        '{"auto": -1.0, "dense": true, "low_rank": 2.0}',
        '{"auto": null, "dense": 1.0, "low_rank": 2.0}',
    ],
)
def test_times_that_are_none_are_measured_again(
    damaged: str, tmp_path: Path, quickly: Path
) -> None:
    end(tmp_path / "a", "measured")
    for kept in quickly.iterdir():
        kept.write_text(damaged)
    end(tmp_path / "b", "measured")
    (again,) = (json.loads(each.read_text()) for each in quickly.iterdir())
    assert set(again) == set(QUICKEST)
    assert all(0 < each < 60 for each in again.values())
    assert not list(quickly.glob("*.unfinished"))


def test_of_two_processes_that_measure_at_once_the_first_decides(tmp_path: Path) -> None:
    scenario, file = toy.scenario(model=DENSE), tmp_path / "cache" / "execution"

    def other_is_first() -> None:
        (kind,) = [remembered_times._kind(scenario, "cpu", ("work",))]
        file.mkdir(parents=True, exist_ok=True)
        (file / f"{kind}.json").write_text('{"way": 7.0}')

    assert remembered_times.seconds_of({"way": other_is_first}, scenario, "cpu", "work") == {
        "way": 7.0
    }


def test_a_cache_that_cannot_be_written_to_is_no_error_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "file"))
    seconds = remembered_times.seconds_of({"way": int}, toy.scenario(model=DENSE), "cpu")
    assert 0 <= seconds["way"] < 60
    assert any("times again, and may choose otherwise" in line for line in caplog.messages)


@pytest.mark.usefixtures("ray_here")
def test_actors_train_in_the_form_that_was_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ray = {"backend": "ray", "actors": 2}
    with caplog.at_level("INFO", "fedlab"):
        measured = end(tmp_path / "measured", "measured", resources=ray)
    (last,) = (tmp_path / "measured").glob("checkpoints/round-000002/checkpoint.json")
    form = json.loads(last.read_text())["execution"]["dense_layers"]
    assert any(f"dense layers {form} (1 client" in line for line in caplog.messages)
    assert same(measured, end(tmp_path / "asked", form))


def test_clients_with_networks_of_their_own_take_the_form_too(
    tmp_path: Path, quickly: Path
) -> None:
    networks = [{"name": "mlp", "hidden": [16]}, {"name": "mlp", "hidden": [24]}]
    own = {"model": {"per_client": networks}, "strategy": "local_only"}
    assert same(end(tmp_path / "a", "measured", **own), end(tmp_path / "b", "dense", **own))


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "fedprox"},
        {"training": {"optimizer": {"name": "adam", "lr": 0.01}}},
        {"training": {"optimizer": {"lr": 0.01, "clip_norm": 1.0}}},
    ],
)
def test_nothing_is_timed_where_only_dense_layers_are_right(
    changes: dict[str, Any], tmp_path: Path, quickly: Path
) -> None:
    measured = end(tmp_path / "a", "measured", **changes)
    assert not quickly.exists()
    assert same(measured, end(tmp_path / "b", "dense", **changes))
