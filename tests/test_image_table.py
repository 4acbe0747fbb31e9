"""Pictures that a table names: findings, numbers and classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedlab.data import FederatedData, load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError

HEADER = "Path,Sex,Age,Site,Edema,Fracture"
FINDINGS = {"name": "image_table", "train": "xrays/train.csv", "file": "Path"}
FINDINGS |= {"label": ["Edema", "Fracture"], "images": "."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As CheXpert lies: two views of 20 patients each, and tables whose paths hold the folder."""
    lines = []
    for patient in range(20):
        for view in (1, 2):
            name = f"xrays/train/patient{patient:03d}/study1/view{view}.png"
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((6, 8), 10 * patient + view, np.uint8)).save(tmp_path / name)
            findings = f"{(patient % 2):.1f},{'' if patient % 4 else '-1.0'}"
            lines.append(f"{name},F,{30 + patient},{'ab'[patient % 2]},{findings}")
    (tmp_path / "xrays" / "train.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    (tmp_path / "xrays" / "valid.csv").write_text("\n".join([HEADER, *lines[:4]]) + "\n")
    return tmp_path


def load(folder: Path, target: str = "multi_label", **source: Any) -> FederatedData:
    spec = {"sources": [{**FINDINGS, **source}], "root": folder, "target": target}
    return load_data(DataSpec.model_validate({**spec, "channels": 1, "image_size": 4}))


def test_findings_of_a_table_and_what_open_ones_are_taken_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        data = load(folder, uncertain=1, blank=0)
    assert data.domain_names == ("xrays",)
    assert data.class_names == ("Edema", "Fracture")
    assert (len(data.train), len(data.test)) == (32, 8)
    for samples in (data.train, data.test):
        patients = samples.inputs[:, 0, 0, 0].astype(int) // 10
        expected = np.stack([patients % 2, patients % 4 == 0], axis=1)
        assert (samples.labels == expected).all()
    assert "took 10 uncertain findings for 1, 30 blank findings for 0" in caplog.text
    assert (load(folder, uncertain=0, blank=0).train.labels[:, 1] == 0).all()  # not from the cache


def test_patients_are_owners_and_sites_domains(folder: Path) -> None:
    owned = {"owner_pattern": r"patient\d+", "split": "by_owner", "uncertain": 0, "blank": 0}
    data = load(folder, **owned, domain_column="Site")
    assert data.domain_names == ("a", "b")
    assert data.owner_names[3] == "patient003"
    assert data.train.owners is not None
    assert data.test.owners is not None
    assert not set(data.train.owners) & set(data.test.owners)
    assert (data.train.owners == data.train.inputs[:, 0, 0, 0] // 10).all()
    by_column = load(folder, owner="Age", uncertain=0, blank=0)
    assert by_column.owner_names[0] == "30"


def test_numbers_and_classes(folder: Path) -> None:
    ages = load(folder, "regression", label="Age")
    assert (ages.train.labels[:, 0] == 30 + ages.train.inputs[:, 0, 0, 0] // 10).all()
    sites = load(folder, "class", label="Site", class_names=["A", "B"])
    assert (sites.train.labels == sites.train.inputs[:, 0, 0, 0] // 10 % 2).all()
    assert sites.class_names == ("A", "B")


def test_a_table_of_tests(folder: Path) -> None:
    table = folder / "xrays" / "train.csv"
    table.write_text("\n".join([HEADER, *table.read_text().splitlines()[5:]]) + "\n")
    data = load(folder, test="xrays/valid.csv", uncertain=0, blank=0)
    assert (len(data.train), len(data.test)) == (36, 4)
    assert data.test.inputs[:, 0, 0, 0].tolist() == [1, 2, 11, 12]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (
            {},
            "multi_label",
            r"line 2, column 'Fracture' has -1\.0, which marks an uncertain.*set d",
        ),
        ({"uncertain": 0}, "multi_label", r"line 4, column 'Fracture' has no value; set data\.so"),
        ({"label": "Age"}, "multi_label", r"line 2, column 'Age' has '30', and a finding is 0 or"),
        ({"label": "Sex"}, "regression", r"line 2, column 'Sex' has 'F', which is no finite numb"),
        ({"label": "Age", "blank": 0}, "regression", r"blank is of findings, and data\.target is"),
        ({"label": "Fracture"}, "class", r"line 4 has no label; write it down or remove the row"),
        ({}, "class", "a list of columns is for data.target 'multi_label' or 'regression'"),
        (
            {"file": "Name"},
            "class",
            r"no column 'Name', only Path, Sex.*set data\.sources\.0\.file",
        ),
        ({"images": None}, "regression", r"train\.csv', line 2: '.*view1\.png' does not exist"),
        ({"owner_pattern": "p9"}, "regression", r"line 2: no part of 'xrays.*' is as data\.sour"),
        (
            {"test": "xrays/valid.csv"},
            "regression",
            r"valid\.csv', line 2 names .*train\.csv', line 2 names, too",
        ),
    ],
)
def test_what_a_table_leaves_open_is_refused(
    folder: Path, source: dict[str, Any], target: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        load(folder, target, **source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"label": ["Edema", "Edema"]}, "names the column 'Edema' twice"),
        ({"owner": "Edema"}, "names the column 'Edema' twice"),
        ({"owner": "Age", "owner_pattern": "x"}, "has both owner and owner_pattern"),
        ({"owner_pattern": "("}, "is no regular expression"),
        ({"split": "by_owner"}, "needs owner or owner_pattern"),
        ({"test": "t.csv", "test_share": 0.5}, "test_share splits what has no test table"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load(Path(), **source)
