"""Samples that stay in their files, and are mapped by every process."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlab
from fedlab.data import FederatedData, load_data, mapped
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError

SCENARIO = """\
name: large
rounds: 2
data:
  root: {root}
  sources:
    - {source}
  image_size: 8
  channels: 1
partition: {{clients: natural}}
model: {{name: small_cnn, widths: [4, 4, 4], norm: group}}
training: {{batch_size: 8, optimizer: {{lr: 0.05}}}}
resources: {{backend: local}}
"""
FILES = {
    "name": "npy",
    "domain": "all",
    "x_train": "x.npy",
    "y_train": "y.npy",
    "x_test": "tx.npy",
    "y_test": "ty.npy",
    "owner_train": "o.npy",
    "owner_test": "to.npy",
}
ARCHIVE = {
    "name": "npz",
    "domain": "all",
    "path": "a.npz",
    "owner_train": "owners",
    "owner_test": "test_owners",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same samples in files of one array and in an archive; small arrays are mapped, too."""
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    random = np.random.default_rng(0)
    arrays = {}
    for name, rows in (("", 60), ("t", 20)):
        arrays[name + "x"] = random.integers(0, 256, (rows, 1, 8, 8), dtype=np.uint8)
        arrays[name + "y"] = np.arange(rows) // 4 % 2
        arrays[name + "o"] = np.arange(rows) % 4
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(
        tmp_path / "a.npz",
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=arrays["tx"],
        y_test=arrays["ty"],
        owners=arrays["o"],
        test_owners=arrays["to"],
    )
    return tmp_path


def load(folder: Path, **more: Any) -> FederatedData:
    spec = {"sources": [{**FILES, **more}], "root": folder, "image_size": 8, "channels": 1}
    return load_data(DataSpec.model_validate(spec))


def test_files_are_mapped_and_only_their_names_travel(folder: Path) -> None:
    data = load(folder)
    assert isinstance(data.train.inputs, np.memmap)
    packed = pickle.dumps(data)
    assert data.train.inputs[5].tobytes() not in packed
    again = pickle.loads(packed)
    assert isinstance(again.train.inputs, np.memmap)
    assert (again.train.inputs == np.load(folder / "x.npy")).all()
    assert again.train.owners.tolist() == data.train.owners.tolist()


def test_a_part_of_a_file_travels_as_it_is(folder: Path) -> None:
    from dataclasses import replace

    train = load(folder).train
    part = replace(train, inputs=train.inputs[3:7])
    assert (pickle.loads(pickle.dumps(part)).inputs == train.inputs[3:7]).all()


def test_small_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "SMALLEST", 2**28)
    assert not isinstance(load(folder).train.inputs, np.memmap)


def test_a_file_that_changes_or_vanishes_under_a_run_is_noticed(folder: Path) -> None:
    packed = pickle.dumps(load(folder))
    file = folder / "x.npy"
    found = file.stat()
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    with pytest.raises(InputError, match="has changed under the run"):
        pickle.loads(packed)
    file.unlink()
    with pytest.raises(InputError, match="has vanished under the run"):
        pickle.loads(packed)


def test_mapped_samples_train_to_the_same_bytes(folder: Path) -> None:
    histories = []
    for name, source in (("npy", FILES), ("npz", ARCHIVE)):
        file = folder / f"{name}.yaml"
        words = ", ".join(f"{key}: {value}" for key, value in source.items())
        file.write_text(SCENARIO.format(root=folder, source="{" + words + "}"))
        run = fedlab.simulate(file, out=folder / name, progress=False)
        histories.append((run.folder / "history.csv").read_bytes())
    assert histories[0] == histories[1]


def test_ray_maps_the_files_itself(folder: Path, ray_here: None) -> None:
    file = folder / "npy.yaml"
    words = ", ".join(f"{key}: {value}" for key, value in FILES.items())
    file.write_text(SCENARIO.format(root=folder, source="{" + words + "}"))
    one, other = (
        fedlab.simulate(
            file, [f"resources.backend={backend}"], out=folder / backend, progress=False
        )
        for backend in ("local", "ray")
    )
    assert (one.folder / "history.csv").read_bytes() == (other.folder / "history.csv").read_bytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"x_train": "none.npy"}, r"x_train: '.*none.npy' does not exist"),
        ({"x_train": "a.npz"}, "x_train"),
        ({"y_train": "ty.npy"}, "20 labels and x_train 60 samples"),
        ({"owner_test": "o.npy"}, r"owner_test has the shape \(60,\)"),
        ({"owner_test": None}, "go together"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, ValueError), match=said):
        load(folder, **more)
