"""A share of test samples is refused where data come with test samples, in every source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from fedlab.config.builtin_names import BUILTIN
from fedlab.config.registry import resolve
from fedlab.errors import InputError
from helpers.loading import load

ROWS = pandas.DataFrame({"x": np.arange(20.0), "label": [0, 1] * 10})


def npz(folder: Path) -> dict[str, Any]:
    x, y = ROWS[["x"]].to_numpy(np.float32), ROWS["label"].to_numpy()
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return {"path": "a.npz"}


def leaf(folder: Path) -> dict[str, Any]:
    content = {"users": ["u", "v"], "num_samples": [2, 2]}
    for split in ("train", "test"):
        (folder / "leaf" / split).mkdir(parents=True)
        data = {user: {"x": [[1, 2], [3, 4]], "y": [0, 1]} for user in content["users"]}
        (folder / "leaf" / split / "a.json").write_text(json.dumps(content | {"user_data": data}))
    return {"path": "leaf"}


def image_folder(folder: Path) -> dict[str, Any]:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (folder / "shots" / "lab" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(folder / "shots" / "lab" / name / "a.png")
    return {"path": "shots"}


def parquet(folder: Path) -> dict[str, Any]:
    ROWS.to_parquet(folder / "train.parquet")
    ROWS.to_parquet(folder / "test.parquet")
    return {"train": "train.parquet", "test": "test.parquet"}


def image_table(folder: Path) -> dict[str, Any]:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            Image.new("L", (4, 4)).save(folder / f"{split}-{label}.png")
        rows = [(f"{split}-{label}.png", label) for label in ("cat", "dog")]
        frame = pandas.DataFrame(rows, columns=["file", "label"])
        frame.to_csv(folder / f"{split}.csv", index=False)
    return {"train": "train.csv", "test": "test.csv"}


def hf(folder: Path) -> dict[str, Any]:
    datasets: Any = pytest.importorskip("datasets", reason="needs the extra hf (datasets)")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_pandas(ROWS)
    datasets.DatasetDict(train=made, test=made).save_to_disk(folder / "saved")
    return {"path": "saved", "test": "test"}


GIVEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each for each in (npz, leaf, image_folder, parquet, image_table, hf)
}
"""What writes data with test samples, and the source's keys, by the name of the source."""

NEVER_GIVEN = {"csv", "text", "python_text", "diabetes"}
"""Sources that always divide their samples."""


def test_all_sources_that_divide_samples_are_known_here() -> None:
    divide = {
        name for name in BUILTIN["sources"] if "test_share" in resolve("sources", name).model_fields
    }
    assert divide == {*GIVEN, *NEVER_GIVEN}


@pytest.mark.parametrize("name", GIVEN)
def test_a_share_of_what_is_divided_already_is_refused(name: str, tmp_path: Path) -> None:
    source = {"name": name, **GIVEN[name](tmp_path)}
    assert len(load(tmp_path, source).test)
    with pytest.raises((InputError, ValueError), match=r"test_share.* splits what has no .*leave"):
        load(tmp_path, source | {"test_share": 0.5})


def test_a_share_is_for_the_files_that_are_not_divided(tmp_path: Path) -> None:
    npz(tmp_path)
    x, y = ROWS[["x"]].to_numpy(np.float32), ROWS["label"].to_numpy()
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y)
    data = load(
        tmp_path,
        {"name": "npz", "files": {"a": "a.npz", "b": "b.npz"}, "test_share": 0.5},
    )
    assert np.bincount(data.test.domains).tolist() == [20, 10]
