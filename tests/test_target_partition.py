"""Sets of labels and bins of numbers in the place of classes: strata, splits, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedlab.data.load import load_data
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from fedlab.preparation import divide
from fedlab.report.partition_measures import class_counts
from fedlab.report.partition_table import write_table
from fedlab.report.terminal.partition_view import draw
from fedlab.targets.multi_label import MultiLabel
from fedlab.targets.regression import Regression
from helpers.targets import OTHERS, scenario

SKEWS = [
    {"labels": {"name": "dirichlet", "alpha": 0.3}},
    {"labels": {"name": "dirichlet", "alpha": 0.5, "balanced": True}},
    {"labels": {"name": "shards", "per_client": 2}},
    {"labels": {"name": "classes_per_client", "count": 3}},
    {"labels": "iid", "quantity": "equal"},
]


def test_frequent_sets_are_strata_and_others_go_by_their_rarest_label() -> None:
    rows = {(1, 0, 0): 5, (0, 1, 0): 4, (1, 1, 0): 2, (1, 0, 1): 1, (0, 0, 0): 1}
    labels = np.array([row for row, count in rows.items() for _ in range(count)], np.uint8)
    target = MultiLabel(sets=2).fitted(labels)
    assert (target.frequent, target.rarity) == (("100", "010"), (2, 1, 0))
    names = target.strata_names("abc")
    assert names == ("a", "b", "other with a", "other with b", "other with c", "other with none")
    found = [names[stratum] for stratum in target.strata(np.array(list(rows), np.uint8))]
    assert found == ["a", "b", "other with b", "other with c", "other with none"]


def test_bins_end_at_quantiles_and_repeated_values_stay_together() -> None:
    target = Regression(bins=4).fitted(np.arange(1.0, 13)[:, None])
    assert target.edges == (3.0, 6.0, 9.0)
    assert target.strata(np.array([[3.0], [3.1], [100.0]])).tolist() == [0, 1, 3]
    assert target.strata_names(["y"]) == ("<= 3", "3 to 6", "6 to 9", "> 9")
    many = Regression(bins=4).fitted(np.array([[0.0]] * 8 + [[1.0], [2.0]]))
    assert many.edges == (0.0,)


@pytest.mark.slow_except("regression", "multi_label-iid")
@pytest.mark.parametrize("skew", SKEWS, ids=lambda skew: str(skew["labels"]))
@pytest.mark.parametrize("target", OTHERS)
def test_skews_divide_strata(target: str, skew: dict, tmp_path: Path) -> None:
    budget = {"label_budget": {"share": 0.5}}
    evaluation = {"validation": 0.2}
    wanted = scenario(target, partition={"clients": 6, **budget, **skew}, evaluation=evaluation)
    data, partition = divide(wanted)
    again = divide(wanted)[1]
    assert (partition.train == again.train).all()
    counts = class_counts(partition, data)
    assert counts.sum() == len(partition.train)
    assert counts.shape == (6, len(data.strata_names))
    assert partition.labels.shape == (len(partition.train), len(data.class_names))
    assert (partition.labels == data.train.labels[partition.train]).all()
    assert 0.4 < partition.labelled.mean() < 0.75
    if skew["labels"] == SKEWS[3]["labels"]:
        assert (np.count_nonzero(counts, axis=1) <= 3).all()
    write_table(partition, data, tmp_path / "who.csv")
    draw(partition, data, tmp_path / "who.png")
    row = (tmp_path / "who.csv").read_text().splitlines()[1].split(",")
    assert row[4] == row[5]


def test_a_split_keeps_the_share_of_every_bin(tmp_path: Path) -> None:
    y = np.random.default_rng(0).permutation(np.arange(100.0))
    np.savez(tmp_path / "d.npz", x_train=np.ones((100, 2), np.float32), y_train=y)
    source = {"name": "npz", "path": str(tmp_path / "d.npz")}
    data = load_data(DataSpec.model_validate({"sources": [source], "target": "regression"}))
    tens = np.bincount((data.test.labels[:, 0] // 10).astype(int), minlength=10)
    assert data.class_names == ("target 0",)
    assert tens.tolist() == [2] * 10


def test_mean_and_deviation_leave_unseen_domains_out() -> None:
    data = load_data(scenario("regression", data={"unseen_domains": ["d1"]}).data)
    seen = data.train.labels[data.train.domains == 0]
    target = data.target
    assert isinstance(target, Regression)
    assert target.mean == pytest.approx(seen.mean(axis=0))
    assert target.std == pytest.approx(seen.std(axis=0))


def refused(tmp_path: Path, text: str, **fields: object) -> str:
    """What is said of a table that cannot be read."""
    (tmp_path / "t.csv").write_text(text)
    target = fields.pop("target", "multi_label")
    source = {"name": "csv", "files": {"t": str(tmp_path / "t.csv")}, **fields}
    with pytest.raises(InputError) as error:
        load_data(DataSpec.model_validate({"sources": [source], "target": target}))
    assert "\n" not in str(error.value)
    return str(error.value)


TABLE = "x,a,b\n" + "".join(f"{i},{i % 2},{(i // 2) % 2}\n" for i in range(20))


def test_columns_of_a_table_are_labels(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    for label, names in ((["b", "a"], ("b", "a")), ([1, -1], ("a", "b"))):
        source = {"name": "csv", "files": {"t": str(tmp_path / "t.csv")}, "label": label}
        data = load_data(DataSpec.model_validate({"sources": [source], "target": "multi_label"}))
        assert data.class_names == names
        assert data.input_shape == (1,)
        x = data.train.inputs[:, 0]
        assert (data.train.labels[:, names.index("a")] == x % 2).all()
        assert (data.train.labels[:, names.index("b")] == x // 2 % 2).all()
    one = {"name": "csv", "files": {"t": str(tmp_path / "t.csv")}, "label": "x"}
    data = load_data(DataSpec.model_validate({"sources": [one], "target": "regression"}))
    assert (data.class_names, data.input_shape) == (("x",), (2,))
    assert data.train.labels.max() == 19


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        (TABLE, {"label": ["a", "a"]}, "names the column 'a' twice"),
        (TABLE, {"label": ["a", 1]}, "names the column 'a' twice, by name and by position"),
        (TABLE, {"label": ["a", "c"]}, "has no column 'c' in its header, only x, a, b"),
        (TABLE, {"label": ["x", "a"]}, "has the label .*; with data.target 'multi_label'"),
        (TABLE, {"label": ["a", "b"], "class_names": ["one"]}, "gives 1 names, and there are 2"),
        (TABLE, {"label": ["a", "b"], "positive_above": 1}, "positive_above is for classes"),
        (TABLE, {"label": ["x", "a", "b"]}, "all columns are labels"),
        (TABLE, {"label": ["a", "b"], "target": "class"}, "a list of columns is for data.target"),
        (TABLE.replace("3,1,1", "3,1,"), {"label": ["a", "b"]}, "has no label in line 5.*'b'"),
        (TABLE.replace("3,1,1", "3,x,1"), {"label": ["a", "b"]}, "'x' in line 5, column 'a'"),
        ("x,y\n1,5\n2,5\n3,5\n", {"label": "y", "target": "regression"}, "nothing to learn"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(
    text: str, fields: dict, words: str, tmp_path: Path
) -> None:
    import re

    assert re.search(words, refused(tmp_path, text, **fields))


def test_arrays_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    inputs = np.ones((6, 2), np.float32)
    y = np.arange(6.0)
    for target, labels, words in (
        ("regression", np.where(y == 2, np.nan, y), "targets have to be finite"),
        ("regression", np.array(list("abcdef")), "labels must be numbers"),
        ("multi_label", np.full((6, 2), 0.5), "has to be 0 or 1"),
        ({"name": "regression", "binned": 3}, y, "binned: there is no target 3"),
        ({"name": "regression", "mean": [1, 2], "std": [1, 1]}, y, "mean has 2 numbers"),
        ({"name": "multi_label", "rarity": [1, 0]}, np.eye(6), "rarity: it is of 2 labels"),
    ):
        np.savez(tmp_path / "d.npz", x_train=inputs, y_train=labels)
        source = {"name": "npz", "path": str(tmp_path / "d.npz")}
        with pytest.raises(InputError, match=words):
            load_data(DataSpec.model_validate({"sources": [source], "target": target}))
