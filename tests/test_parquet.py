"""Parquet files: tables, and pictures as they lie on Hugging Face's hub."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedlab.data import FederatedData, load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError


def load(tmp_path: Path, **source: Any) -> FederatedData:
    spec = {"sources": [{"name": "parquet", **source}], "root": tmp_path}
    return load_data(DataSpec.model_validate({**spec, "channels": 1, "image_size": 4}))


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def hub(
    path: Path, writers: list[str], names: tuple[str, ...] = ("zero", "one"), **more: Any
) -> None:
    """A file as Hugging Face writes it: pictures, a ClassLabel, and metadata about both."""
    rows = len(writers)
    cells = [{"bytes": png(10 * row), "path": None} for row in range(rows)]
    columns = {"image": cells, "label": [row % 2 for row in range(rows)], "writer_id": writers}
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | more).replace_schema_metadata(metadata), path)


def test_pictures_of_the_hub(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub(tmp_path / "femnist" / "train-0.parquet", ["w1", "w1", "w2", "w2"], hsf_id=[1] * 4)
    hub(tmp_path / "femnist" / "train-1.parquet", ["w3", "w3"], hsf_id=[1] * 2)
    hub(tmp_path / "femnist" / "test-0.parquet", ["w1", "w4"], hsf_id=[1] * 2)
    data = load(
        tmp_path, train="femnist/train-*.parquet", test="femnist/test-*.parquet", owner="writer_id"
    )
    assert data.domain_names == ("femnist",)
    assert data.class_names == ("zero", "one")
    assert data.owner_names == ("w1", "w2", "w3", "w4")
    assert data.train.inputs[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 0, 10]
    assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.train.owners is not None
    assert data.test.owners is not None
    assert data.train.owners.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.owners.tolist() == [0, 3]
    assert "left out 1 column (hsf_id)" in caplog.text


def test_domains_in_a_column(tmp_path: Path) -> None:
    style = ["photo"] * 10 + ["sketch"] * 10
    hub(tmp_path / "pacs.parquet", ["a", "b"] * 10, domain=style)
    data = load(tmp_path, train="pacs.parquet", domain_column="domain", test_share=0.4)
    assert data.domain_names == ("photo", "sketch")
    assert np.bincount(data.train.domains).tolist() == [6, 6]
    assert data.train.owners is None


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    cells = [{"bytes": png(1), "path": "a.png"}, {"bytes": b"no picture", "path": "b.png"}]
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="the image of row 1 cannot be decoded"):
        load(tmp_path, train="a.parquet")
    with pytest.raises(InputError, match=r"impute is of tables, and column 'image' holds pictures"):
        load(tmp_path, train="a.parquet", impute="mean")


def test_numbers_are_features_as_those_of_csv(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.arange(20)
    columns = {
        "age": pa.array([None if row == 3 else float(row) for row in rows]),
        "kind": pa.array(["a" if row % 2 else "b" for row in rows]),
        "sick": pa.array((rows % 2 == 0).tolist()),
        "hospital": pa.array([f"h{row // 10}" for row in rows]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text(
        "age,kind,sick,hospital\n"
        + "".join(
            f"{'' if r == 3 else r},{'a' if r % 2 else 'b'},{r % 2 == 0},h{r // 10}\n" for r in rows
        )
    )
    keys: dict[str, Any] = {"label": "sick", "owner": "hospital", "categorical": ["kind"]}
    data = load(tmp_path, train="t.parquet", domain="t", **keys)
    same = load_data(
        DataSpec.model_validate(
            {"sources": [{"name": "csv", "files": {"t": "t.csv"}, **keys}], "root": tmp_path}
        )
    )
    for split in ("train", "test"):
        one, other = getattr(data, split), getattr(same, split)
        assert one.inputs.tobytes() == other.inputs.tobytes()
        assert one.inputs.dtype == np.float32
        assert (one.labels == other.labels).all()
        assert (one.owners == other.owners).all()
    assert data.class_names == same.class_names == ("False", "True")
    assert "filled 1 missing cell with the median" in caplog.text


def test_declared_classes_and_a_test_file_of_numbers(tmp_path: Path) -> None:
    features = {"label": {"names": ["c", "b", "a"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}})}
    for name, labels in (("train", [2, 0, 2, 0]), ("test", [0, 2])):
        table = pa.table({"x": np.arange(len(labels)) / 7, "label": labels})
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{name}.parquet")
    data = load(tmp_path, train="train.parquet", test="test.parquet")
    assert data.class_names == ("c", "b", "a")
    assert data.train.labels.tolist() == [2, 0, 2, 0]
    assert data.test.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        ({"x": [1.0, 2.0]}, {}, "no column 'label', only x; correct data.sources.0.label"),
        ({"x": [[1.0], [2.0]], "label": [0, 1]}, {}, "column 'x' is nested"),
        ({"x": [datetime.date(2024, 1, 1)] * 2, "label": [0, 1]}, {}, "looks like a date"),
        ({"x": ["a", "b"], "label": [0, 1]}, {}, "name the column in the source's categorical"),
        ({"x": [float("inf"), 1.0], "label": [0, 1]}, {}, "no finite number in row 0"),
        ({"x": [1.0, 2.0], "label": [0, None]}, {}, "no label in row 1"),
        ({"x": [1.0, 2.0], "label": [0, 1], "w": ["a", "a"]}, {"owner": "w"}, "one owner alone"),
        ({"x": [1.0, 2.0], "label": [0, 1], "w": ["a", None]}, {"owner": "w"}, "no owner in row 1"),
        ({"x": [1.0, 2.0], "label": [0, 1]}, {"image": "x"}, "column 'x' holds no pictures"),
    ],
)
def test_columns_of_no_use_are_refused(
    tmp_path: Path, columns: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=said):
        load(tmp_path, train="a.parquet", **more)


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        load(tmp_path, train="a.parquet")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load(tmp_path, train="b.parquet")
    hub(tmp_path / "c.parquet", ["a", "b"], names=("only",))
    with pytest.raises(InputError, match="labels go from 0 to 1, and the files name 1 classes"):
        load(tmp_path, train="c.parquet")


def test_rows_of_unseen_domains_fill_no_gap_of_a_cached_table(tmp_path: Path) -> None:
    x = [1.0, 2.0, None, 1.0, 2.0] * 2 + [9.0] * 10
    columns = {"x": x, "label": [0, 1] * 10, "site": ["a"] * 10 + ["b"] * 10}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    source = {"name": "parquet", "train": "t.parquet", "domain_column": "site"}
    largest = []
    for unseen in ([], ["b"]):
        spec = {"sources": [source], "root": tmp_path, "unseen_domains": unseen}
        data = load_data(DataSpec.model_validate(spec))
        largest.append(data.train.inputs[data.train.domains == 0].max())
    assert largest == [9, 2]  # the median of all sites, and that of the site that clients own


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"columns": ["x", "label"]}, "columns names 'label', which label names, too"),
        ({"categorical": ["label"]}, "categorical names 'label', which label names, too"),
        ({"owner": "w", "columns": ["w"]}, "columns names 'w', which owner names, too"),
        ({"owner": "label"}, "owner names 'label', which label names, too"),
        ({"encoding": "codes"}, "encoding: codes is of categorical columns; name some"),
        ({"label_type": "text", "positive_above": 1}, "takes labels for codes, and positive_above"),
        ({"test": "b.parquet", "test_share": 0.3}, "test_share splits what has no test files"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DataSpec.model_validate({"sources": [{"name": "parquet", "train": "a.parquet", **source}]})


def test_labels_that_are_missing_are_no_class(tmp_path: Path) -> None:
    for labels in ([0.0, float("nan")], ["a", " "], [0.0, float("inf")]):
        pq.write_table(pa.table({"x": [1.0, 2.0], "label": labels}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match="column 'label' has no label in row 1"):
            load(tmp_path, train="a.parquet")


def test_pictures_have_whole_numbers_for_labels(tmp_path: Path) -> None:
    pictures = [png(row) for row in range(8)]
    for labels, names in (([0.0, 2.0] * 4, ("0", "2")), ([0.5, 2.0] * 4, None)):
        pq.write_table(pa.table({"image": pictures, "label": labels}), tmp_path / "a.parquet")
        if names:
            assert load(tmp_path, train="a.parquet").class_names == names
        else:
            with pytest.raises(InputError, match=r"the labels hold 0\.5, which is no class"):
                load(tmp_path, train="a.parquet")


def test_files_of_other_columns_or_classes_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0], "label": [0]}), tmp_path / "1.parquet")
    for other in ({"z": [1.0], "label": [1]}, {"x": [1.0], "z": [1.0], "label": [1]}):
        pq.write_table(pa.table(other), tmp_path / "2.parquet")
        with pytest.raises(InputError, match=r"2\.parquet': its columns are not those of the fir"):
            load(tmp_path, train="?.parquet")
    hub(tmp_path / "h1.parquet", ["a", "b"])
    hub(tmp_path / "h2.parquet", ["a", "b"], names=("one", "zero"))
    with pytest.raises(InputError, match=r"h2\.parquet' names other classes for 'label' than the"):
        load(tmp_path, train="h?.parquet")
    hub(tmp_path / "h2.parquet", ["a", "b"], names=("Cat", "cat "))
    with pytest.raises(InputError, match="the metadata of the files has 'Cat' and 'cat'"):
        load(tmp_path, train="h2.parquet")
    twice = pa.table([[1.0], [2.0], [0]], names=["x", "x", "label"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="several of them called 'x'"):
        load(tmp_path, train="twice.parquet")


def test_a_picture_beside_the_table_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": f"{row}.png"} for row in range(6)]
    for row in range(6):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 3}), tmp_path / "a.parquet")
    before = load(tmp_path, train="a.parquet")
    assert before.train.inputs.max() <= 5
    for row in range(6):
        (tmp_path / f"{row}.png").write_bytes(png(200))
    assert load(tmp_path, train="a.parquet").train.inputs.min() == 200
    (tmp_path / "3.png").unlink()
    said = (
        r"a\.parquet': column 'image' has only the path '3\.png' in row 3, and there is no file '"
    )
    with pytest.raises(InputError, match=said):
        load(tmp_path, train="a.parquet")


@pytest.mark.parametrize("content", [b"", None])
def test_a_path_without_its_picture_is_named_by_row(tmp_path: Path, content: bytes | None) -> None:
    cells = [{"bytes": png(1), "path": "0.png"}, {"bytes": content, "path": "train/1.png"}]
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError) as caught:
        load(tmp_path, train="a.parquet")
    said = str(caught.value)
    assert "a.parquet': column 'image' has only the path 'train/1.png' in row 1" in said
    assert "the picture's bytes are not in the Parquet file; save it with the bytes" in said
    assert "\n" not in said


def test_a_row_with_neither_picture_nor_path_is_named(tmp_path: Path) -> None:
    for cell in ({"bytes": None, "path": None}, {"bytes": b"", "path": ""}):
        cells = [{"bytes": png(1), "path": "0.png"}, cell]
        pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
        with pytest.raises(InputError, match="column 'image' has no picture in row 1; remove"):
            load(tmp_path, train="a.parquet")


@pytest.mark.parametrize(("step", "merged"), [(1, True), (2**20, False)])
def test_whole_numbers_that_double_precision_merges_are_refused(
    tmp_path: Path, step: int, merged: bool
) -> None:
    columns = {"id": [2**60 + step * row for row in range(20)], "label": ["a", "b"] * 10}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    if not merged:
        load(tmp_path, train="a.parquet")
        return
    with pytest.raises(InputError, match=r"column 'id' has different whole numbers .* ignore"):
        load(tmp_path, train="a.parquet")


def test_a_column_that_pandas_has_named_is_refused_unless_it_is_named_here(tmp_path: Path) -> None:
    columns = {"Unnamed: 0": list(range(20)), "x": [0.5, 1.5] * 10, "label": ["a", "b"] * 10}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'Unnamed: 0', as pandas calls .* ignore"):
        load(tmp_path, train="a.parquet")
    ignored = load(tmp_path, train="a.parquet", ignore=["Unnamed: 0"])
    assert ignored.feature_names == ("x",)
    named = load(tmp_path, train="a.parquet", columns=["Unnamed: 0", "x"])
    assert named.feature_names == ("Unnamed: 0", "x")
