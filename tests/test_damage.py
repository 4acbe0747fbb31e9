"""Files of a run that are not what was written: noticed, named, and gone back from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedlab import tensor_files
from fedlab.deploy.device.state_file import StateFile
from fedlab.errors import InputError, RunError
from fedlab.records import arrays_of, to_record
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.run import load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume, simulate
from fedlab.tensor_files import read_records, read_tensors, write_records, write_tensors
from helpers.tiny_scenario import write_tiny

MORE = ["rounds=3"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds whose clients keep something."""
    folder = tmp_path_factory.mktemp("kept")
    simulate(write_tiny(folder), ["strategy={name: ditto}"], out=folder / "run", progress=False)
    return folder


@pytest.fixture(scope="module")
def whole(kept: Path) -> dict[str, bytes]:
    """What it comes to after a third round."""
    shutil.copytree(kept / "run", kept / "whole")
    resume(kept / "whole", MORE, progress=False)
    return ended(kept / "whole")


@pytest.fixture
def run(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept / "run", tmp_path / "run")
    return tmp_path / "run"


def ended(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("history.csv", "model.safetensors")}


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 4
    file.write_bytes(content)


# ---------------------------------------------------------------------- tensors


def test_any_flipped_bit_of_a_file_of_tensors_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"w": torch.arange(6.0), "n": torch.tensor(3)}, {"note": "x"})
    written = file.read_bytes()
    for place in range(len(written)):
        flip(file, place)
        with pytest.raises(InputError, match=r"a\.safetensors' is damaged"):
            read_tensors(file)
        file.write_bytes(written)
    assert read_tensors(file)[0]["n"] == 3


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_a_file_of_tensors_that_was_cut_is_noticed(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"w": torch.arange(6.0)})
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(file)


def test_records_and_names_may_have_any_text_and_keep_their_order(tmp_path: Path) -> None:
    records = {
        "b/x": {"z/1": torch.ones(2), "a": torch.zeros(1, dtype=torch.int64)},
        "b": {"x/z/1": torch.full((2,), 2.0)},
        "a": {},
        "%2F": {"": torch.tensor(True), "é\n": torch.ones(1, dtype=torch.bfloat16)},
    }
    write_records(tmp_path / "r.safetensors", records, {"k": "v"})
    read, notes = read_records(tmp_path / "r.safetensors")
    assert notes == {"k": "v"}
    assert [(r, list(ts)) for r, ts in read.items()] == [(r, list(ts)) for r, ts in records.items()]
    assert all(torch.equal(t, read[r][n]) for r, ts in records.items() for n, t in ts.items())


def test_a_device_keeps_records_with_any_name_for_itself_alone(tmp_path: Path) -> None:
    from flwr.app import RecordDict

    state = RecordDict({"my/record": to_record({"a/b": torch.ones(1)}), "none": to_record({})})
    file = StateFile(tmp_path / "device" / "c.safetensors")
    file.keep("round 1", RecordDict(), state)
    again = StateFile(file.path)
    assert list(arrays_of(again.after)) == ["my/record", "none"]
    assert arrays_of(again.after)["my/record"]["a/b"] == 1
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    flip(file.path, 90)
    with pytest.raises(InputError, match=r"the client.s state .* cannot be read"):
        StateFile(file.path)


def test_a_damaged_model_is_named(run: Path) -> None:
    flip(run / "model.safetensors", -5)
    with pytest.raises(InputError, match=r"run/model\.safetensors' is damaged.*checksum"):
        load_run(run).model_state()


# ---------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("file", ["server.safetensors", "checkpoint.json", "client"])
@pytest.mark.parametrize("place", [3, 40, -3])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    run: Path, whole: dict[str, bytes], file: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    newest = run / "checkpoints/round-000002"
    damaged = newest / file
    if file == "client":
        damaged = run / "checkpoints/clients/000001-r000002.safetensors"
    flip(damaged, place)
    checkpoint = latest_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.round == 1
    assert damaged.name in caplog.text
    resume(run, MORE, progress=False)
    assert ended(run) == whole


def test_a_stray_folder_is_no_checkpoint(run: Path, whole: dict[str, bytes]) -> None:
    for name in ("round-zzz", "round-000009.bak", "round-"):
        (run / "checkpoints" / name).mkdir()
    (run / "checkpoints/round-1").write_text("mine")
    resume(run, MORE, progress=False)
    assert ended(run) == whole
    assert (run / "checkpoints/round-zzz").is_dir()


# ---------------------------------------------------------------------- history


def test_a_history_that_is_gone_is_reported_before_anything_is_trained(run: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (run / "checkpoints").rglob("*")}
    (run / "history.csv").unlink()
    with pytest.raises(RunError, match=r"history\.csv is not there; put it back"):
        resume(run, MORE, progress=False)
    assert {file: file.stat().st_mtime_ns for file in (run / "checkpoints").rglob("*")} == before


def test_a_history_that_was_changed_is_reported(run: Path) -> None:
    file = run / "history.csv"
    file.write_bytes(file.read_bytes().replace(b"accuracy", b"accurbcy", 1))
    with pytest.raises(RunError, match=r"history\.csv was changed; put it back as it was"):
        resume(run, MORE, progress=False)


def test_a_history_that_was_cut_or_padded_is_restored_where_it_can_be(
    run: Path, whole: dict[str, bytes]
) -> None:
    """The end of the second round is lost: it is trained again."""
    file = run / "history.csv"
    os.truncate(file, file.stat().st_size - 10)
    os.truncate(file, file.stat().st_size + 10)  # with NULs
    resume(run, MORE, progress=False)
    assert ended(run) == whole
    os.truncate(file, 30)
    with pytest.raises(RunError, match=r"history\.csv has 30 of its \d+ bytes"):
        resume(run, ["rounds=4"], progress=False)


def test_rows_of_a_lost_round_are_cut_off(run: Path, whole: dict[str, bytes]) -> None:
    with (run / "history.csv").open("a") as file:
        file.write("3,0,north,test,acc")
    resume(run, MORE, progress=False)
    assert ended(run) == whole


# ---------------------------------------------------------------------- data


@pytest.mark.parametrize(("changed", "named"), [("x_train", "inputs"), ("y_train", "labels")])
def test_other_data_are_refused_before_anything_is_trained(
    kept: Path, run: Path, changed: str, named: str
) -> None:
    file = kept / "north.npz"
    written = file.read_bytes()
    arrays = dict(np.load(file))
    arrays[changed] = arrays[changed].copy()
    arrays[changed][[0, 1]] = arrays[changed][[1, 0]]
    try:
        np.savez(file, **arrays)
        with pytest.raises(InputError, match=f"was begun with other data: the .*{named}"):
            resume(run, MORE, progress=False)
    finally:
        file.write_bytes(written)
    assert len(list((run / "checkpoints").glob("round-*"))) == 2


# ---------------------------------------------------------------------- the first files


class Killed(BaseException):
    """Stands for a signal that no process survives."""


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_folder_whose_making_was_killed_can_be_taken_again(
    tmp_path: Path, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, target = load_scenario(write_tiny(tmp_path)), tmp_path / "run"
    replaced: list[Path] = []

    def replace(path: Path, to: Path) -> None:
        if len(replaced) == written:
            raise Killed
        replaced.append(path)
        os.replace(path, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            RunFolder.create(target, scenario, devices="{}")
    with pytest.raises(InputError, match="holds no run"):
        load_run(target)
    folder = RunFolder.create(target, scenario)
    assert json.loads(folder.environment_file.read_text())["cpu_count"]


def test_a_folder_without_a_run_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(InputError, match="is not empty"):
        RunFolder.refuse_used(tmp_path)


# ---------------------------------------------------------------------- the current folder

TRAP = "raise SystemExit('a file of the current folder was run')\n"
NETS = """\
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(5, 3))
"""


def command(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_files_of_the_current_folder_do_not_pass_for_packages(tmp_path: Path) -> None:
    for name in ("pandas", "yaml", "pydantic", "torch", "colorsys"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    fedlab = Path(sys.executable).parent / "fedlab"
    done = command(tmp_path, fedlab, "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "domain_skew" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", "ray"])
def test_a_network_of_the_current_folder_is_found_there(tmp_path: Path, backend: str) -> None:
    write_tiny(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    # Ray's own processes, which start before fedlab can tell them, still look here first.
    for name in ("pandas", "torchvision", "matplotlib", "colorsys") if backend == "local" else ():
        (tmp_path / f"{name}.py").write_text(TRAP)
    fedlab = Path(sys.executable).parent / "fedlab"
    words = ("simulate", "tiny.yaml", "model={name: 'nets:Net'}", f"resources.backend={backend}")
    done = command(tmp_path, fedlab, *words, "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run/finished.json").is_file()


# ---------------------------------------------------------------------- order


@pytest.mark.slow_except("ditto", "fedavgm")
@pytest.mark.parametrize("method", ["feddyn", "scaffold", "feddc", "ditto", "fedavgm"])
def test_an_order_that_a_file_does_not_keep_changes_no_bytes(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Floats are added up in the order of the records that hold them."""
    words = [f"strategy={{name: {method}}}", "model.hidden=[7, 5]"]
    simulate(write_tiny(tmp_path), [*words, "rounds=3"], out=tmp_path / "whole", progress=False)
    simulate(tmp_path / "tiny.yaml", words, out=tmp_path / "run", progress=False)
    load = tensor_files.load
    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "load", lambda content: dict(reversed(load(content).items())))
        resume(tmp_path / "run", MORE, progress=False)
    assert ended(tmp_path / "run") == ended(tmp_path / "whole")
