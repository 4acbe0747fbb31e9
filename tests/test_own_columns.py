"""The columns of a device's table are the scenario's by their names, in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fedlab.data.samples import FederatedData
from fedlab.deploy.device.local_data import load_own_data
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario

HERE = pandas.DataFrame(
    {"who": ["ann", "ben"] * 5, "a": np.arange(10.0), "b": -np.arange(10.0), "ill": [0, 1] * 5}
)


def scenario(folder: Path, **source: Any) -> Scenario:
    """A scenario whose server has the table `HERE`."""
    HERE.to_csv(folder / "server.csv", index=False)
    HERE.to_parquet(folder / "server.parquet", index=False)
    table = {"name": "csv", "files": {"here": "server.csv"}, "owner": "who", "test_share": 0.2}
    if source.get("name") == "parquet":
        table = {"train": "server.parquet", "label": "ill", "owner": "who", "test_share": 0.2}
    block = {"root": str(folder), "normalisation": {"mean": 0, "std": 1}}
    data = {**block, "sources": [table | source]}
    return load_scenario({"name": "t", "data": data, "partition": {"clients": 2}, "model": "mlp"})


def joined(served: Scenario, file: Path) -> FederatedData:
    """The samples of a device as they are read for the server's invitation."""
    setup = setup_of(served)
    terms = setup.invitation("run", served)
    values = served.model_dump(mode="json")
    return load_own_data(values, file, None, terms.classes, terms.shape, terms.features).data


def as_rows(data: FederatedData) -> list[list[float]]:
    rows = np.column_stack([data.train.inputs[:], data.train.labels])
    return sorted(rows.tolist())


@pytest.mark.parametrize("order", [["a", "b", "ill"], ["b", "a", "ill"], ["ill", "b", "a"]])
def test_columns_in_another_order_are_the_same_samples(tmp_path: Path, order: list[str]) -> None:
    served, file = scenario(tmp_path), tmp_path / "device.csv"
    HERE[order].to_csv(file, index=False)
    found = as_rows(joined(served, file))
    assert all(b == -a for a, b, _ in found)
    assert all(ill == a % 2 for a, _, ill in found)
    assert any(a > 0 for a, _, _ in found)


def test_so_are_those_of_a_parquet_file(tmp_path: Path) -> None:
    served, file = scenario(tmp_path, name="parquet"), tmp_path / "device.parquet"
    HERE[["ill", "b", "a"]].to_parquet(file, index=False)
    found = as_rows(joined(served, file))
    assert all(b == -a and a >= 0 for a, b, _ in found)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (HERE.assign(extra=1.5), "device.csv' has the column 'extra', and the scenario has only"),
        (HERE.rename(columns={"a": "c"}), "device.csv' lacks the feature 'a' of the scenario"),
        (HERE[["a", "ill"]], "device.csv' lacks the feature 'b' of the scenario, and has 'a'"),
    ],
)
def test_other_columns_are_named(tmp_path: Path, table: pandas.DataFrame, says: str) -> None:
    served, file = scenario(tmp_path, label="ill"), tmp_path / "device.csv"
    table.to_csv(file, index=False)
    with pytest.raises(InputError, match=says):
        joined(served, file)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (HERE.assign(extra=1), r"has 'ill', 'extra' beside .* \('a', 'b'\)"),
        (HERE[["a", "b"]], "has no column beside the scenario's features"),
    ],
)
def test_a_label_by_position_is_one_column(
    tmp_path: Path, table: pandas.DataFrame, says: str
) -> None:
    served, file = scenario(tmp_path), tmp_path / "device.csv"
    table.to_csv(file, index=False)
    with pytest.raises(InputError, match=says):
        joined(served, file)


def test_columns_without_names_are_those_of_the_position(tmp_path: Path) -> None:
    served, file = scenario(tmp_path), tmp_path / "device.csv"
    HERE[["a", "b", "ill"]].to_csv(file, index=False, header=False)
    found = as_rows(joined(served, file))
    assert all(b == -a for a, b, _ in found)
