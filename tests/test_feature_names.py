"""Features of several tables are the same by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fedlab.data import load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError


def table(*names: str) -> pandas.DataFrame:
    """Ten rows, whose second feature is the first with another sign."""
    number = np.arange(1.0, 11)
    return pandas.DataFrame({names[0]: number, names[1]: -number, "ill": [0, 1] * 5})


def spec(folder: Path, *tables: pandas.DataFrame) -> DataSpec:
    sources: list[dict[str, Any]] = []
    for place, each in enumerate(tables):
        each.to_csv(folder / f"{place}.csv", index=False)
        sources.append({"name": "csv", "files": {f"d{place}": f"{place}.csv"}, "label": "ill"})
    return DataSpec.model_validate({"root": str(folder), "sources": sources})


def test_sources_with_columns_in_another_order(tmp_path: Path) -> None:
    data = load_data(spec(tmp_path, table("a", "b"), table("a", "b")[["ill", "b", "a"]]))
    assert data.feature_names == ("a", "b")
    for samples in (data.train, data.test):
        assert (samples.inputs[:, 0] > 0).all()
        assert (samples.inputs[:, 1] < 0).all()


def test_features_with_other_names_are_remarked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load_data(spec(tmp_path, table("a", "b"), table("a", "c")))
    assert data.feature_names == ()
    assert "features of domain 'd1' are not called as those of 'd0' (they differ in b, c)" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (np.arange(8) + 0.5, np.arange(4), r"owner_train: 'who' .* type float64; owners must"),
        (np.arange(8), np.array([0, 1, 2, np.nan]), r"owner_test: 'whot' .* type float64"),
        (np.arange(8)[:, None], np.arange(4), r"owner_train: 'who' .* shape \(8, 1\)"),
    ],
)
def test_owners_beside_test_arrays_are_names_or_whole_numbers(
    tmp_path: Path, train: np.ndarray, test: np.ndarray, says: str
) -> None:
    x, y = np.ones((12, 2), np.float32), np.arange(12) % 2
    arrays = {"x_train": x[:8], "y_train": y[:8], "x_test": x[8:], "y_test": y[8:]}
    np.savez(tmp_path / "a.npz", who=train, whot=test, **arrays)
    source = {"name": "npz", "path": "a.npz", "owner_train": "who", "owner_test": "whot"}
    with pytest.raises(InputError, match=says):
        load_data(DataSpec.model_validate({"root": str(tmp_path), "sources": [source]}))


def test_owners_in_bytes_are_text(tmp_path: Path) -> None:
    x, y = np.ones((8, 2), np.float32), np.arange(8) % 2
    who = np.array(["Müller".encode(), b"ann"] * 2)
    arrays = {"x_train": x[:4], "y_train": y[:4], "x_test": x[4:], "y_test": y[4:]}
    np.savez(tmp_path / "a.npz", who=who, whot=who, **arrays)
    source = {"name": "npz", "path": "a.npz", "owner_train": "who", "owner_test": "whot"}
    data = load_data(DataSpec.model_validate({"root": str(tmp_path), "sources": [source]}))
    assert data.owner_names == ("Müller", "ann")
