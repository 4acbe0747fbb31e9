"""Files that would give a wrong number or an error that does not help: one line says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch import nn

from fedlab.data import load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from fedlab.models.pretrained.transfer import transfer
from fedlab.targets.regression import Regression

NUMBERS = np.random.default_rng(0).normal(size=(12, 2))
LABELS = np.arange(12) % 2


def load(folder: Path, source: dict[str, Any], **more: Any) -> None:
    load_data(DataSpec.model_validate({"sources": [source], "root": folder, **more}))


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    table = pa.table({"x": [0.5, 1.5, 2.5, 3.5], "label": ["a", "b"] * 2})
    parquet.write_table(table, tmp_path / "full.parquet")
    parquet.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    source = {"name": "parquet", "train": "empty.parquet"}
    with pytest.raises(InputError, match=r"train: '.*empty\.parquet' has no rows; name a file"):
        load(tmp_path, source)
    with pytest.raises(InputError, match=r"test: '.*empty\.parquet' has no rows; name a file"):
        load(tmp_path, {**source, "train": "full.parquet", "test": "empty.parquet"})
    load(tmp_path, {**source, "train": ["empty.parquet", "full.parquet"]})


def test_a_parquet_source_has_no_marks_of_missing_values(tmp_path: Path) -> None:
    table = pa.table({"x": ["one", "two"] * 2, "label": ["a", "b"] * 2})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'x' .*categorical or ignore") as caught:
        load(tmp_path, {"name": "parquet", "train": "a.parquet"})
    assert "missing" not in str(caught.value)


@pytest.mark.parametrize("stated", [[2, 3], [2], None])
def test_leafs_numbers_of_samples_are_held_against_the_samples(
    tmp_path: Path, stated: list[int] | None
) -> None:
    own = {"x": [[0.1], [0.2]], "y": [0, 1]}
    content = {"users": ["u", "v"], "user_data": {"u": own, "v": own}}
    content |= {} if stated is None else {"num_samples": stated}
    (tmp_path / "leaf").mkdir()
    (tmp_path / "leaf" / "a.json").write_text(json.dumps(content))
    source = {"name": "leaf", "path": "leaf"}
    if stated is None:
        load(tmp_path, source)
        return
    said = "as many num_samples" if len(stated) == 1 else "'v' has 2 samples, and num_samples .* 3"
    with pytest.raises(InputError, match=said):
        load(tmp_path, source)


def leaf(folder: Path, name: str, users: dict[str, Any]) -> None:
    """A file of LEAF's form with these samples of each user."""
    labels = {user: [row % 2 for row in range(len(own))] for user, own in users.items()}
    content = {
        "users": list(users),
        "num_samples": [len(own) for own in users.values()],
        "user_data": {user: {"x": own, "y": labels[user]} for user, own in users.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([[1.0, 2.0, 3.0], [4.0, 5.0]], "sample 1 of user 'v' has 2 numbers"),
        ([[1.0, 2.0], [4.0, 5.0]], "sample 0 of user 'v' has 2 numbers"),
        ([[1.0, 2.0, 3.0], []], "sample 1 of user 'v' has 0 numbers"),
        ([[1.0, 2.0, 3.0], 4.0], "sample 1 of user 'v' has no list of numbers"),
        ([[[1.0], [2.0, 3.0]]], "sample 0 of user 'v' has lists of different lengths"),
    ],
)
def test_samples_of_leafs_users_have_one_length(
    tmp_path: Path, samples: list[Any], said: str
) -> None:
    leaf(tmp_path / "leaf", "a.json", {"u": [[0.1, 0.2, 0.3]] * 4})
    leaf(tmp_path / "leaf", "b.json", {"v": samples})
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path, {"name": "leaf", "path": "leaf"})
    where, _, other = str(caught.value).partition(said)
    assert where.endswith("b.json': ")
    assert other.startswith(", and user 'u' (data.sources.0.path: ")
    assert other.endswith("a.json') has 3 numbers; all must have as many: correct x in the file")


def test_a_ragged_user_of_leafs_and_other_tests_are_named(tmp_path: Path) -> None:
    leaf(tmp_path / "one", "a.json", {"u": [[1.0], [2.0, 3.0]], "v": [[1.0]]})
    with pytest.raises(InputError, match="user 'u' has 2 numbers, and its sample 0 has 1 number;"):
        load(tmp_path, {"name": "leaf", "path": "one"})
    leaf(tmp_path / "two" / "train", "a.json", {"u": [[1.0, 2.0]] * 2, "v": [[1.0, 2.0]]})
    leaf(tmp_path / "two" / "test", "b.json", {"u": [[1.0, 2.0, 3.0]] * 2})
    with pytest.raises(InputError, match=r"b\.json': sample 0 of user 'u' has 3 numbers, and user"):
        load(tmp_path, {"name": "leaf", "path": "two"})


@pytest.mark.parametrize(
    ("target", "label", "rows", "said"),
    [
        ("multi_label", ["a", "b"], "1,0,1\n\n2,1,2\n", r"sample 1 is line 4 of the file"),
        ("multi_label", ["a", "b"], "1,0,1\n\n2,1,\n", r"no label in line 4, column 'b'"),
        ("regression", ["a", "b"], "1,0,1\n2,inf,1\n", r"sample 1 is line 3 of the file"),
        ("regression", ["a", "b"], "1,ten,1\n2,1,1\n", r"'ten' in line 2, column 'a'"),
    ],
)
def test_wrong_labels_of_a_table_are_found_by_line(
    tmp_path: Path, target: str, label: list[str], rows: str, said: str
) -> None:
    (tmp_path / "t.csv").write_text("x,a,b\n" + rows)
    source = {"name": "csv", "files": {"t": "t.csv"}, "label": label, "header": True}
    with pytest.raises(InputError, match=said):
        load(tmp_path, source, target=target)


@pytest.mark.parametrize(
    ("labels", "target", "said"),
    [
        (np.ones((12, 2), int), "multi_label", "each label holds in all training samples"),
        (np.zeros((12, 2), int), "multi_label", "each label does not hold in all training samples"),
        (np.full((12, 2), [0, 1]), "multi_label", "each has one value in all training samples"),
        (np.full(12, 0.1), "regression", r"target 0 is 0\.1 in all training samples"),
        (1e15 + np.arange(12), "regression", r"differ by \d+ at most.* subtract an offset"),
    ],
)
def test_labels_without_anything_to_learn(
    tmp_path: Path, labels: np.ndarray, target: str, said: str
) -> None:
    np.savez(tmp_path / "a.npz", x_train=NUMBERS, y_train=labels)
    with pytest.raises(InputError, match=rf"data\.sources: .*{said}"):
        load(tmp_path, {"name": "npz", "path": "a.npz"}, target=target)


def test_a_broken_line_of_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": "p"}\n\nnothing\n')
    source = {"name": "text", "files": {"t": "t.jsonl"}, "text": "text", "label": "label"}
    with pytest.raises(InputError, match="line 3: Expecting value, at its sign 1"):
        load(tmp_path, source)


def test_a_vocabulary_of_billions_has_to_be_stated(tmp_path: Path) -> None:
    ids = np.arange(48).reshape(12, 4) * 10**9
    np.savez(tmp_path / "a.npz", x_train=ids, y_train=LABELS)
    with pytest.raises(InputError, match=r"ids\.vocabulary: the largest id of domain 'a' is 47,"):
        load(tmp_path, {"name": "npz", "path": "a.npz"}, inputs="ids")


def test_owners_that_are_no_names_are_found_by_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=NUMBERS, y_train=LABELS, who=np.arange(12) / 2)
    with pytest.raises(InputError, match=r"owner_train: 'who' of domain 'a' has .* float64"):
        load(tmp_path, {"name": "npz", "path": "a.npz", "owner_train": "who"})


def test_owners_of_one_sample_each(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=NUMBERS, y_train=LABELS, who=np.arange(12))
    with pytest.raises(InputError, match="is empty, as each owner has a single sample"):
        load(tmp_path, {"name": "npz", "path": "a.npz", "owner_train": "who"})


def test_arrays_of_another_size_name_the_keys_to_set(tmp_path: Path) -> None:
    for split in ("train", "test"):
        np.save(tmp_path / f"x_{split}.npy", np.zeros((4, 1, 8, 8), np.uint8))
        np.save(tmp_path / f"y_{split}.npy", np.arange(4) % 2)
    keys = ("x_train", "y_train", "x_test", "y_test")
    source = {"name": "npy", **{key: f"{key}.npy" for key in keys}}
    with pytest.raises(InputError, match=r"set data\.channels to 1 and data\.image_size to 8, or"):
        load(tmp_path, source)
    load(tmp_path, source, channels=1, image_size=8)


def test_no_file_is_trained_on_and_tested(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    table = pa.table({"x": [0.5, 1.5, 2.5, 3.5], "label": ["a", "b"] * 2})
    for name in ("train", "test"):
        parquet.write_table(table, tmp_path / "data" / f"{name}-0.parquet")
        np.save(tmp_path / f"{name}.npy", NUMBERS)
    np.save(tmp_path / "y.npy", LABELS)
    np.savez(tmp_path / "a.npz", x_train=NUMBERS, y_train=LABELS)
    source = {"name": "parquet", "train": "data", "test": "data/test-*.parquet"}
    with pytest.raises(InputError, match=r"test and data\.sources\.0\.train both name '.*test-0"):
        load(tmp_path, source)
    load(tmp_path, {**source, "train": "data/train-*.parquet"})
    arrays = {"name": "npy", "x_train": "train.npy", "y_train": "y.npy", "y_test": "y.npy"}
    with pytest.raises(InputError, match=r"x_test and data\.sources\.0\.x_train both name"):
        load(tmp_path, {**arrays, "x_test": "../" + tmp_path.name + "/train.npy"})
    load(tmp_path, {**arrays, "x_test": "test.npy"})
    with pytest.raises(ValueError, match="x_train and x_test name one array"):
        load(tmp_path, {"name": "npz", "path": "a.npz", "x_test": "x_train", "y_test": "y_train"})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"edges": [0.0], "bins": 4}, "edges make 2 bins, and bins is 4"),
        ({"standardise": False, "mean": [0.0], "std": [1.0]}, "standardise: false learns"),
    ],
)
def test_keys_of_a_regression_that_would_do_nothing(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Regression(**keys)


def test_edges_go_with_their_own_number_of_bins() -> None:
    Regression.model_validate(Regression(edges=(0.0, 1.0)).model_dump())
    assert Regression(edges=(0.0, 1.0), bins=3).bins == 3


def test_targets_beyond_double_precision() -> None:
    values = np.array([[1.0, 1e200], [2.0, -1e200], [3.0, 0.0]])
    with pytest.raises(InputError, match=r"target 1 has values up to 1e\+200"):
        Regression().fitted(values)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (torch.ones(2, 3, dtype=torch.int8), "'weight' of a file has values of type int8"),
        (torch.ones(2, 3, dtype=torch.complex64), "values of type complex64"),
        (torch.full((2, 3), 1e300, dtype=torch.float64), "a value that float32 cannot hold"),
    ],
)
def test_weights_of_another_type(weight: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        transfer(nn.Linear(3, 2), {"weight": weight, "bias": torch.zeros(2)}, "a file")


def test_weights_of_other_floats_are_taken() -> None:
    network = nn.Linear(3, 2)
    transfer(network, {"weight": torch.ones(2, 3).half(), "bias": torch.zeros(2).double()}, "it")
    assert network.weight.eq(1).all()
    assert network.weight.dtype == torch.float32


def test_keys_of_images_beside_a_table_are_remarked(tmp_path: Path, caplog: Any) -> None:
    np.savez(tmp_path / "rows.npz", x=NUMBERS, y=LABELS)
    source = {"name": "npz", "path": "rows.npz", "test_share": 0.5, "domain": "rows"}
    arrays = {"x_train": "x", "y_train": "y"}
    load(tmp_path, {**source, **arrays})
    assert not caplog.records
    load(tmp_path, {**source, **arrays}, image_size=32)
    assert "data.image_size: 32 has no effect" in caplog.text
