"""``engine.dense_layers: measured``: the form of dense layers that is quickest, timed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.engine.execution import remembered_times
from fedlab.simulation import simulate
from helpers import toy

DENSE = {"name": "mlp", "hidden": [16]}
QUICKEST = {
    "auto": {"auto": 1.0, "dense": 2.0, "low_rank": 2.0},
    "dense": {"auto": 2.0, "dense": 1.0, "low_rank": 2.0},
    "low_rank": {"auto": 2.0, "dense": 2.0, "low_rank": 1.0},
}


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
    said = [line for line in caplog.messages if line.startswith("dense layers: ")]
    assert len(said) == 2 * len(kept)
    for file in kept:
        assert set(json.loads(kept[file])) == set(QUICKEST)
    assert "(1 client of up to " in said[0]


def test_times_of_another_version_are_measured_again(tmp_path: Path, quickly: Path) -> None:
    end(tmp_path / "a", "measured")
    for kept in quickly.iterdir():
        kept.write_text('{"fast": 1.0}')
    end(tmp_path / "b", "measured")
    assert all(set(json.loads(each.read_text())) == set(QUICKEST) for each in quickly.iterdir())
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


def test_a_cache_that_cannot_be_written_to_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "file"))
    seconds = remembered_times.seconds_of({"way": int}, toy.scenario(model=DENSE), "cpu")
    assert 0 <= seconds["way"] < 60


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
