"""Samples that are not what the scenario says: the file, the sample, the value and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedlab.errors import InputError
from helpers.loading import load

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10) % 2


def with_odd(place: int, value: float) -> np.ndarray:
    """Two columns of 0 and 1, with another value in the second."""
    labels = np.stack([Y, 1 - Y], axis=1).astype(float)
    labels[place, 1] = value
    return labels


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        ("multi_label", 0.5, r"the label 0\.5 \('(lame|column 1)' of sample 7\).* has to be 0 or"),
        ("regression", np.inf, r"the label inf \('(lame|column 1)' of sample 7\).*to be finite"),
    ],
)
def test_a_value_that_is_no_label_is_found_where_the_file_has_it(
    tmp_path: Path, target: str, value: float, said: str
) -> None:
    odd = with_odd(7, value)
    np.savez(tmp_path / "a.npz", x_train=X, y_train=odd)
    np.savez(tmp_path / "b.npz", x_train=X, y_train=with_odd(0, 1), x_test=X, y_test=odd)
    for name, array in (("a", "y_train"), ("b", "y_test")):
        with pytest.raises(InputError, match=rf"array '{array}' of '.*{name}\.npz' has {said}"):
            load(tmp_path, {"name": "npz", "path": f"{name}.npz"}, target=target)
    for key, array in (("x_train", X), ("y_train", odd), ("x_test", X), ("y_test", odd)):
        np.save(tmp_path / f"{key}.npy", array)
    files = {f"{kind}_{split}": f"{kind}_{split}.npy" for kind in "xy" for split in SPLITS}
    with pytest.raises(InputError, match=rf"data\.sources\.0\.y_train has {said}"):
        load(tmp_path, {"name": "npy", **files}, target=target)
    table = pandas.DataFrame(X, columns=["a", "b"]).assign(blind=odd[:, 0], lame=odd[:, 1])
    table.to_csv(tmp_path / "t.csv", index=False)
    source = {"name": "csv", "files": "t.csv", "label": ["lame", "blind"]}
    with pytest.raises(InputError, match=rf"data\.sources\.0\.files\.t has {said}"):
        load(tmp_path, source, target=target)


SPLITS = ("train", "test")


def test_a_feature_that_is_not_finite_is_found_where_the_file_has_it(tmp_path: Path) -> None:
    odd = X.copy()
    odd[3, 1] = np.nan
    np.savez(tmp_path / "a.npz", x_train=odd, y_train=Y)
    with pytest.raises(InputError, match=r"'x_train' of '.*a\.npz' has .* not finite in sample 3"):
        load(tmp_path, {"name": "npz", "path": "a.npz"})
    arrays = {"x_train": X, "y_train": Y, "x_test": odd, "y_test": Y}
    for key, array in arrays.items():
        np.save(tmp_path / f"{key}.npy", array)
    with pytest.raises(InputError, match=r"test split .* not finite, the first in its sample 3"):
        load(tmp_path, {"name": "npy", **{key: f"{key}.npy" for key in arrays}})


def test_ids_below_zero_name_their_domain(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", -2)):
        np.savez(tmp_path / f"{name}.npz", x_train=first + X.astype(int), y_train=Y)
    source = {"name": "npz", "files": {"a": "a.npz", "b": "b.npz"}}
    with pytest.raises(InputError, match="ids of domain 'b' go down to -2; number them from 0"):
        load(tmp_path, source, inputs="ids")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("label", r"list<.*>, and a column of labels holds text or whole numbers; name another"),
        ("owner", r"list<.*>, and a column of owners holds text or whole numbers; name another"),
        ("domain_column", r"list<.*>, and a column of domains holds text or whole numbers"),
        ("categorical", r"is nested \(list<.*>\), and a category is one text or whole number"),
        ("columns", r"is nested \(list<.*>\), and a feature is one number a row; flatten it"),
    ],
)
def test_a_nested_column_of_a_parquet_file_is_refused(tmp_path: Path, key: str, said: str) -> None:
    table = {"x": X[:, 0], "label": Y, "n": [[1, 2]] * 10}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    source: dict[str, Any] = {"name": "parquet", "train": "t.parquet", key: "n"}
    with pytest.raises(InputError, match=rf"t\.parquet': column 'n' (is of type )?{said}"):
        load(tmp_path, source)
