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
    told = {b"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | more).replace_schema_metadata(told), path)


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
    told = {b"huggingface": json.dumps({"info": {"features": features}})}
    for name, labels in (("train", [2, 0, 2, 0]), ("test", [0, 2])):
        table = pa.table({"x": np.arange(len(labels)) / 7, "label": labels})
        pq.write_table(table.replace_schema_metadata(told), tmp_path / f"{name}.parquet")
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
    with pytest.raises(InputError, match="there is no folder"):
        load(tmp_path, train="b.parquet")
    hub(tmp_path / "c.parquet", ["a", "b"], names=("only",))
    with pytest.raises(InputError, match="labels go from 0 to 1, and the files name 1 classes"):
        load(tmp_path, train="c.parquet")
