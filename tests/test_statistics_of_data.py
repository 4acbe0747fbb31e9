"""What is computed of samples is computed of training samples that clients own, and of no others.

Domain ``a`` is learnt from, ``b`` is unseen, and ``c`` is left out by ``data.domains``. Expected
values are worked out by hand of the training samples of ``a``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fedlab.data.preprocess import Preprocess
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from helpers.loading import load, of

CHOSEN: dict[str, Any] = {"domains": ["a", "b"], "unseen_domains": ["b"]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A table of training rows and one of test rows; ``site`` is their domain."""
    train = pandas.DataFrame(
        [("a", 1.0, "u", 0), ("a", 2.0, "v", 1), ("a", None, "u", 0), ("a", 6.0, "v", 1)]
        + [("b", 100.0, "x", label) for label in (0, 1, 0, 1)]
        + [("c", 1000.0, "y", label) for label in (0, 1, 0, 1, 0, 1, 0)]
        + [("c", None, "y", 1)],
        columns=["site", "x", "kind", "label"],
    )
    test = pandas.DataFrame(
        [("a", 50.0, "w", 0), ("a", None, "w", 1), ("a", 60.0, "w", 1)]
        + [(site, 70.0, "w", label) for site in "bc" for label in (0, 1)],
        columns=["site", "x", "kind", "label"],
    )
    train.to_parquet(tmp_path / "train.parquet")
    test.to_parquet(tmp_path / "test.parquet")
    train.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


def table(**keys: Any) -> dict[str, Any]:
    files = {"train": "train.parquet", "test": "test.parquet"}
    return {"name": "parquet", **files, "domain_column": "site", "ignore": "kind", **keys}


@pytest.mark.parametrize(("impute", "middle"), [("median", 2), ("mean", 3)])
def test_a_gap_is_filled_from_training_rows_that_clients_own(
    rows: Path, impute: str, middle: float, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(rows, table(impute=impute), **CHOSEN)
    assert of(data, "a").ravel().tolist() == [1, 2, middle, 6]
    assert of(data, "a", "test").ravel().tolist() == [50, middle, 60]
    assert f"filled 2 missing cells with the {impute}" in caplog.text  # not those of c


def test_rows_of_a_domain_that_is_left_out_are_not_counted(
    rows: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(rows, table(impute="drop"), **CHOSEN)
    assert "left out of domain 'a': 2 rows with a missing value" in caplog.text
    assert "domain 'c'" not in caplog.text


def test_categories_are_those_of_training_rows_that_clients_own(
    rows: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(rows, table(ignore=(), categorical="kind"), **CHOSEN)
    assert of(data, "a")[:, 1:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]  # u, v
    assert not of(data, "a", "test")[:, 1:].any()
    assert not of(data, "b")[:, 1:].any()
    assert "(w, x) 9 times" in caplog.text  # 3 + 2 test rows, 4 rows of b, none of c


def test_a_csv_table_leaves_out_the_same_domains(rows: Path) -> None:
    source = {"name": "csv", "files": "train.csv", "domain_column": "site", "label": "label"}
    for field in ("ignore", "categorical"):
        alone, both = (
            load(rows, source | {field: "kind"}, domains=names) for names in (["a"], ["a", "b"])
        )
        assert of(alone, "a").max() <= 6  # the gap is filled from a alone
        known = len({"ignore": "", "categorical": "uv"}[field])
        assert (alone.input_shape, both.input_shape) == ((1 + known,), (1 + known + (known > 0),))


def test_a_cached_table_is_of_the_domains_that_are_kept(rows: Path) -> None:
    filled = [of(load(rows, table(), domains=names), "a")[2] for names in (["a"], ["a", "b"])]
    assert filled == [[2], [100]]  # the medians of 1, 2, 6, and with 100, 100, 100, 100


def arrays(root: Path, name: str, train: Any, test: Any, labels: Any = None) -> None:
    y = np.arange(len(train)) % 2 if labels is None else np.asarray(labels)
    np.savez(root / f"{name}.npz", x_train=train, y_train=y, x_test=test, y_test=y[: len(test)])


SITES = {"name": "npz", "files": {name: f"{name}.npz" for name in "abc"}}


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_features_and_channels_are_standardised_by_training_samples_that_clients_own(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    for name, train, test in (("a", [1, 3], 100), ("b", [1000] * 2, 1000), ("c", [1e6] * 2, 1e6)):
        arrays(
            tmp_path,
            name,
            np.reshape(np.array(train, np.float32), (2, *shape)),
            np.full((2, *shape), test, np.float32),
        )
    fields = CHOSEN | {"inputs": "numbers"}
    data = load(tmp_path, SITES, **fields)
    made = Preprocess(DataSpec.model_validate({"sources": [SITES], **fields}), data)
    assert (made.mean.item(), made.std.item()) == (2, 1)


def test_the_type_of_numbers_is_what_the_kept_domains_need(tmp_path: Path) -> None:
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 1e39)):  # more than float32 can hold
        arrays(tmp_path, name, scale * np.arange(8).reshape(4, 2) / 3, scale * np.ones((2, 2)))
    assert load(tmp_path, SITES).train.inputs.dtype == np.float64
    assert load(tmp_path, SITES, **CHOSEN).train.inputs.dtype == np.float32


def test_sequences_are_filled_up_to_the_longest_that_is_kept(tmp_path: Path) -> None:
    for name, length in (("a", 3), ("b", 4), ("c", 9)):
        ragged = np.empty(2, object)
        ragged[:] = [np.arange(1, 1 + length), np.array([1, 2])]
        arrays(tmp_path, name, ragged, ragged)
    fields: dict[str, Any] = {"inputs": "ids", "ids": {"pad": 0}}
    assert load(tmp_path, SITES, **fields).input_shape == (9,)
    data = load(tmp_path, SITES, **CHOSEN, **fields)
    assert data.input_shape == (4,)
    assert data.ids is not None
    assert data.ids.vocabulary == 5  # 0 to 4


def test_targets_are_scaled_by_training_samples_that_clients_own(tmp_path: Path) -> None:
    for name, wanted in (("a", [1.0, 3.0]), ("b", [1e3, 2e3]), ("c", [1e6, 2e6])):
        x = np.array([[0.0], [1.0]], np.float32)
        np.savez(
            tmp_path / f"{name}.npz",
            **{"x_train": x, "y_train": np.array(wanted), "x_test": x, "y_test": np.full(2, 77.0)},
        )
    data = load(tmp_path, SITES, **CHOSEN, target="regression")
    learnt: Any = data.target
    assert (learnt.mean, learnt.std) == ((2.0,), (1.0,))


WORDS = {"a": "red green", "b": "blue", "c": "black\nwhite"}


@pytest.mark.parametrize(
    ("tokenizer", "known"), [("words", 2 + 2), ("characters", 2 + len(set("red green")))]
)
def test_a_vocabulary_is_of_training_texts_that_clients_own(
    tmp_path: Path, tokenizer: str, known: int
) -> None:
    rows = [
        (name, text, label) for name, text in WORDS.items() for label in ("p", "q") for _ in "1234"
    ]
    table = pandas.DataFrame(rows, columns=["who", "text", "label"])
    table.to_csv(tmp_path / "t.csv", index=False)
    source = {"name": "text", "files": "t.csv", "domain_column": "who", "length": 4}
    data = load(tmp_path, source | {"tokenizer": tokenizer}, **CHOSEN)
    assert data.ids is not None
    assert data.ids.vocabulary == known
    assert (of(data, "a") > 1).any()


def test_the_next_token_is_one_of_training_texts_that_clients_own(tmp_path: Path) -> None:
    for name, text in (("a", "ab" * 20 + "z" * 10), ("b", "k" * 50), ("c", "m" * 2)):
        (tmp_path / f"{name}.txt").write_text(text)
    source = {"name": "text", "task": "next_token", "tokenizer": "characters", "length": 2}
    files = {name: f"{name}.txt" for name in "abc"}
    data = load(tmp_path, source | {"files": files}, **CHOSEN)
    assert data.class_names == ("<pad>", "<unknown>", "a", "b")  # z is in the test part alone


def test_a_domain_that_is_left_out_is_still_named_where_another_is_misspelt(rows: Path) -> None:
    with pytest.raises(InputError, match="'d', which no source yields; choose from a, b, c"):
        load(rows, table(), domains=["a", "d"])
