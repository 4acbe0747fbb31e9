from pathlib import Path

import numpy as np
import pytest
from loading import load, of

from fedlab.errors import InputError


@pytest.fixture
def clinics(tmp_path) -> Path:
    """Ten patients a clinic: column 0 counts them, column 1 is unknown in the south."""
    north = [f"{index},{10 * index},{index % 3}" for index in range(10)]
    south = [f"{100 + index},?,{2 * (index % 2)}" for index in range(10)]
    (tmp_path / "north.csv").write_text("\n".join(north))
    (tmp_path / "south.csv").write_text("\n\n".join(south) + "\n")
    return tmp_path


CLINICS = {"name": "csv", "files": {"north": "north.csv", "south": "south.csv"}}


def write(root: Path, text: str) -> dict:
    (root / "table.csv").write_text(text)
    return {"name": "csv", "files": {"only": "table.csv"}}


def test_files_become_domains_of_features(clinics):
    data = load(clinics, CLINICS)
    assert data.domain_names == ("north", "south")
    assert data.class_names == ("0", "1", "2")
    assert data.train.inputs.dtype == np.float32
    assert [len(of(data, name)) for name in data.domain_names] == [8, 8]
    both = np.concatenate([of(data, "north"), of(data, "north", "test")])
    assert sorted(both[:, 0].tolist()) == list(range(10))
    assert (both[:, 1] == 10 * both[:, 0]).all()
    assert (data.train.labels == data.train.inputs[:, 0] % 3)[data.train.domains == 0].all()


@pytest.mark.parametrize(("impute", "middle"), [("median", np.median), ("mean", np.mean)])
def test_missing_values_are_those_of_the_training_rows_that_have_one(clinics, impute, middle):
    data = load(clinics, CLINICS | {"impute": impute})
    filled = np.concatenate([of(data, "south"), of(data, "south", "test")])[:, 1]
    assert np.allclose(filled, middle(of(data, "north")[:, 1]))


def test_nobody_learns_from_unseen_domains(clinics):
    (clinics / "west.csv").write_text("\n".join(f"{index},9999,1" for index in range(10)))
    files = CLINICS["files"] | {"west": "west.csv"}
    data = load(clinics, CLINICS | {"files": files}, unseen_domains=["west"])
    assert of(data, "south")[:, 1].max() < 100


def test_incomplete_rows_may_be_dropped(clinics):
    with open(clinics / "south.csv", "a") as file:
        file.write("\n".join(f"{index},{index},{index % 3}" for index in range(20)))
    data = load(clinics, CLINICS | {"impute": "drop"})
    assert len(of(data, "south")) == 16
    (clinics / "south.csv").write_text("1,?,0\n2,?,1")
    with pytest.raises(InputError, match=r"impute is 'drop', but no row of domain 'south'"):
        load(clinics, CLINICS | {"impute": "drop"})


def test_labels_may_be_made_binary(clinics):
    data = load(clinics, CLINICS | {"positive_above": 0})
    assert data.class_names == ("<= 0", "> 0")
    north = data.train.domains == 0
    assert (data.train.labels == (data.train.inputs[:, 0] % 3 > 0))[north].all()
    named = load(clinics, CLINICS | {"positive_above": 1, "class_names": ["well", "ill"]})
    assert named.class_names == ("well", "ill")
    assert np.bincount(named.test.labels).tolist() == [2, 2]


def test_headers_name_columns_and_bring_them_into_order(tmp_path):
    (tmp_path / "a.csv").write_text(
        "age;sick;dose\n" + "\n".join(f"{i};yes;{-i}" for i in range(9))
    )
    (tmp_path / "b.csv").write_text("\ufeffsick;dose;age\n" + "no; -3 ;NaN\n" * 9, "utf-8")
    files = {"a": "a.csv", "b": "b.csv"}
    source = {"name": "csv", "files": files, "label": "sick", "delimiter": ";"}
    data = load(tmp_path, source)
    assert data.class_names == ("no", "yes")
    assert (of(data, "a")[:, 0] == -of(data, "a")[:, 1]).all()
    assert (of(data, "b")[:, 1] == -3).all()
    assert (of(data, "b")[:, 0] == np.median(of(data, "a")[:, 0])).all()
    by_place = load(tmp_path, source | {"label": 1, "files": {"a": "a.csv"}})
    assert by_place.input_shape == (2,)
    assert by_place.class_names == ("yes",)


def test_labels_are_sorted_as_numbers(tmp_path):
    source = write(tmp_path, "".join(f"0,{label}\n" for label in ("10", "2", "2.0", "-1") * 5))
    data = load(tmp_path, source)
    assert data.class_names == ("-1", "2", "10")
    assert np.bincount(data.train.labels).tolist() == [4, 8, 4]


@pytest.mark.parametrize(
    ("text", "parameters", "message"),
    [
        ("1,2\n1,x2,3\n", {}, r"has 3 cells in line 2 but 2 in its first"),
        ("1,2,0\n\n1,x2,3\n", {}, r"'x2' in line 3, column 1, which is not a number"),
        ("a,b,c\n1,2,0\n1,x2,3\n", {}, r"'x2' in line 3, b, which is not a number"),
        ("1,2,0\n1,2,?\n", {}, r"no label in line 2"),
        ("1,2\n1,2\n", {"label": 2}, r"2 columns, none at position 2"),
        ("1,2\n1,2\n", {"label": "sick"}, r"no column 'sick' in its header, only 1, 2"),
        ("1,0.5\n1,2\n", {}, r"labels hold 0\.5, which is no class; .*positive_above"),
        ("1,yes\n1,no\n", {"positive_above": 0}, r"positive_above needs numeric labels"),
        ("1,0\n1,1\n", {"class_names": ["a"]}, r"class_names gives 1 names, .* 2 classes \(0, 1\)"),
        ("1,?,0\n" * 5, {}, r"no training row has a value for column 1"),
        ("inf,0\n" * 5, {}, r"features that are not finite"),
        ("", {}, r"has no rows"),
        ("1,0\n", {}, r"test split of domain 'only' is empty"),
        (
            "a;b\n1;0\n",
            {},
            r"single column, which begins with 'a;b'; .* set the source's delimiter",
        ),
        ("a,b\n", {}, r"a header and no rows; add some"),
        (",a,b\n0,5,1\n1,6,0\n", {}, r"no name for column 0 .* pandas .* index=False"),
        (
            "".join(f"{i % 7},{i}\n" for i in range(20)),
            {},
            r"20 different values in 20 rows .*label",
        ),
    ],
)
def test_unfit_tables_are_refused(tmp_path, text, parameters, message):
    with pytest.raises(InputError, match=rf"data\.sources\.0.*{message}"):
        load(tmp_path, write(tmp_path, text) | parameters)


def test_files_must_exist_and_have_the_same_columns(clinics):
    (clinics / "south.csv").write_text("1,2,3,0\n" * 5)
    with pytest.raises(InputError, match=r"files\.south: .*they differ in column 2\)"):
        load(clinics, CLINICS)
    (clinics / "south.csv").unlink()
    with pytest.raises(InputError, match=r"data\.sources\.0\.files\.south: '.*' does not exist"):
        load(clinics, CLINICS)
    (clinics / "south.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read as a CSV file"):
        load(clinics, CLINICS)
