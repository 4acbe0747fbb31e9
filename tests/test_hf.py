"""Data sets that Hugging Face's library has saved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedlab.data import FederatedData, load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError

WRITERS = ["w1", "w1", "w2", "w2", "w3", "w3"]


def load(root: Path, **source: Any) -> FederatedData:
    block = {"sources": [{"name": "hf", **source}], "root": root, "channels": 1, "image_size": 4}
    return load_data(DataSpec.model_validate(block))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Pictures with writers in two splits, and a table with a column of domains."""
    datasets: Any = pytest.importorskip("datasets", reason="needs the extra hf (datasets)")
    datasets.disable_progress_bars()
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=["zero", "one"]),
        writer=datasets.Value("string"),
    )

    def split(first: int, writers: list[str]) -> Any:
        shades = range(first, first + 10 * len(writers), 10)
        images = [Image.fromarray(np.full((6, 6), shade, np.uint8)) for shade in shades]
        labels = [place % 2 for place in range(len(writers))]
        rows = {"image": images, "label": labels, "writer": writers}
        return datasets.Dataset.from_dict(rows, features=features)

    both = {"train": split(0, WRITERS), "test": split(100, ["w1", "w4"])}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "digits")
    place = ["lab", "field"] * 20
    numbers = [float(i % 7) for i in range(40)]
    label = ["wet" if i % 3 else "dry" for i in range(40)]
    table = {"place": place, "height": numbers, "label": label}
    datasets.Dataset.from_dict(table).save_to_disk(tmp_path / "plots")
    return tmp_path


def test_pictures_with_splits_owners_and_names_of_classes(saved: Path) -> None:
    for _ in range(2):  # the second time from the cache
        data = load(saved, path="digits", test="test", owner="writer")
        assert data.domain_names == ("digits",)
        assert data.class_names == ("zero", "one")
        assert data.train.inputs[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
        assert data.test.inputs[:, 0, 0, 0].tolist() == [100, 110]
        assert data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert data.owner_names == ("w1", "w2", "w3", "w4")
        assert data.train.owners is not None
        assert data.train.owners.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_table_without_splits_whose_column_names_domains(saved: Path) -> None:
    data = load(saved, path="plots", domain_column="place", test_share=0.25)
    assert data.domain_names == ("lab", "field")
    assert data.class_names == ("dry", "wet")
    assert (len(data.train), len(data.test), data.input_shape) == (30, 10, (1,))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "digits", "train": "unsupervised"}, r"no split 'unsupervised'; .* train, test"),
        ({"path": "nowhere"}, r"data\.sources\.0\.path: 'nowhere': "),
        ({"path": "plots", "label": "rain"}, r"data\.sources\.0\.label"),
        ({"dataset": "no-one/nothing-there"}, r"dataset: .*; data\.download=true fetches it"),
    ],
)
def test_what_is_missing_is_reported_in_one_line(saved: Path, source: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        load(saved, **source)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("source", [{}, {"dataset": "a/b", "path": "c"}])
def test_it_is_in_one_place(source: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs dataset .* or path"):
        load(tmp_path, **source)


def test_a_folder_has_no_configurations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config is that of a dataset on the hub"):
        load(tmp_path, path="digits", config="small")


def test_the_library_is_asked_for_by_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the library datasets; install fedlab-sim\[hf\]"):
        load(tmp_path, path="digits")
