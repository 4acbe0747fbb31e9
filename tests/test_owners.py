"""Owners of samples, in every source that names them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fedlab.data import FederatedData, load_data
from fedlab.data.owner_split import split_by_owner, split_within
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError


def load(tmp_path: Path, source: dict[str, Any], **more: Any) -> FederatedData:
    """What a source yields for a scenario of small grey images."""
    spec = DataSpec.model_validate(
        {"sources": [source], "root": tmp_path, "channels": 1, "image_size": 4, **more}
    )
    return load_data(spec)


def owned(data: FederatedData, split: str = "train") -> dict[str, int]:
    """How many samples of a split each owner has, by its name."""
    owners = getattr(data, split).owners
    counts = np.bincount(owners, minlength=len(data.owner_names))
    return dict(zip(data.owner_names, counts.tolist(), strict=True))


# Splits


def test_every_owners_samples_are_split_by_themselves() -> None:
    owners = np.repeat([0, 1, 2, 3], [1, 2, 10, 7])
    labels = np.concatenate([[0], [0, 1], [0] * 6 + [1] * 4, [0] * 7])
    train, test = split_within(labels, owners, 0.3, np.random.default_rng(0))
    assert sorted([*train, *test]) == list(range(20))
    # 0.3 of 1 is 0, of 2 rounds to 1, of 10 is 3 (1.8 and 1.2 of the classes), of 7 rounds to 2.
    assert np.bincount(owners[test], minlength=4).tolist() == [0, 1, 3, 2]
    assert np.bincount(labels[test][owners[test] == 2]).tolist() == [2, 1]


def test_no_client_is_left_without_training_samples() -> None:
    owners, labels = np.repeat([0, 1], [2, 3]), np.zeros(5, int)
    train, _ = split_within(labels, owners, 0.99, np.random.default_rng(0))
    assert np.bincount(owners[train]).tolist() == [1, 1]


def test_test_owners_have_no_training_samples() -> None:
    owners = np.repeat(np.arange(10), 3)
    train, test = split_by_owner(owners, 0.2, np.random.default_rng(1))
    assert len(test) == 6
    assert not set(owners[train]) & set(owners[test])


def test_a_hundred_thousand_owners_are_split_at_once() -> None:
    random = np.random.default_rng(0)
    owners, labels = random.integers(0, 100_000, 400_000), random.integers(0, 10, 400_000)
    train, test = split_within(labels, owners, 0.25, random)
    sizes, tested = np.bincount(owners), np.bincount(owners[test], minlength=100_000)
    there = sizes > 0
    expected = np.clip(np.rint(0.25 * sizes), np.minimum(1, sizes - 1), sizes - 1)
    assert (tested[there] == expected[there]).all()
    assert len(train) + len(test) == 400_000


# CSV


def table(path: Path, rows: int = 40, header: bool = True) -> None:
    lines = ["patient,age,sex,sick"] * header
    for row in range(rows):
        sex = "male" if row % 3 else "female"
        lines.append(f"p{row % 4},{30 + row},{sex},{row // 2 % 2}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("owner", ["patient", 0])
def test_a_column_of_a_table_names_owners(tmp_path: Path, owner: str | int) -> None:
    table(tmp_path / "clinic.csv", header=isinstance(owner, str))
    source = {"name": "csv", "files": {"clinic": "clinic.csv"}, "owner": owner}
    source |= {"categorical": ["sex" if owner == "patient" else 2], "header": owner == "patient"}
    data = load(tmp_path, source)
    assert data.owner_names == ("p0", "p1", "p2", "p3")
    assert owned(data) == {f"p{i}": 8 for i in range(4)}
    assert owned(data, "test") == {f"p{i}": 2 for i in range(4)}
    assert data.input_shape == (3,)  # age, female, male


def test_categories_become_columns_or_codes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "size,kind,y\n" + "".join(f"{i},{'abc'[i % 3]},{i % 2}\n" for i in range(30))
    )
    source = {"name": "csv", "files": {"a": "a.csv"}, "categorical": "kind"}
    data = load(tmp_path, source)
    size, *kinds = data.train.inputs.T
    assert (np.array(kinds).argmax(axis=0) == size.astype(int) % 3).all()
    assert (np.array(kinds).sum(axis=0) == 1).all()
    data = load(tmp_path, {**source, "encoding": "codes"})
    assert (data.train.inputs[:, 1] == data.train.inputs[:, 0].astype(int) % 3).all()


def test_categories_of_unseen_domains_and_missing_ones_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{i},{'a' if i % 2 else 'b'},{i // 2 % 2}" for i in range(20)]
    (tmp_path / "seen.csv").write_text("size,kind,y\n" + "\n".join([*rows, "3,,1"]))
    (tmp_path / "new.csv").write_text(
        "size,kind,y\n" + "\n".join(r.replace("b", "z") for r in rows)
    )
    source = {"name": "csv", "files": {"seen": "seen.csv", "new": "new.csv"}, "categorical": "kind"}
    data = load(tmp_path, source, unseen_domains=["new"])
    assert data.input_shape == (3,)  # size, a, b
    new = data.test.domains == 1
    assert (data.test.inputs[new][:, 1:].sum(axis=1) == (data.test.inputs[new][:, 0] % 2)).all()
    assert "kind has categories that no training row has (z) 10 times: 0 in every" in caplog.text
    assert "kind is missing 1 times: 0 in every column" in caplog.text


def test_dates_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("day,y\n2024-03-01,0\n2024-03-02,1\n")
    with pytest.raises(InputError, match=r"'2024-03-01' in line 2, day, which looks like a date"):
        load(tmp_path, {"name": "csv", "files": {"a": "a.csv"}})


def test_files_can_be_owners(tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        (tmp_path / f"{name}.csv").write_text(
            "x,y\n" + "".join(f"{i / 7},{i % 2}\n" for i in range(20))
        )
    data = load(
        tmp_path, {"name": "csv", "files": "*.csv", "files_are": "owners", "domain": "home"}
    )
    assert data.domain_names == ("home",)
    assert owned(data) == {"anna": 16, "ben": 16}


@pytest.mark.parametrize(
    ("cells", "more", "said"),
    [
        ("p,1,0\np,2,1\n", {}, "names one owner alone, 'p'"),
        ("p,1,0\n,2,1\n", {}, "has no owner in line 3, who"),
        ("p,1,0\nq,2,1\n", {"owner": "patient"}, "no column 'patient'"),
        ("p,1,0\nq,2,1\n", {"owner": "y"}, "twice; give each its own column"),
        ("p,1,0\nq,2,1\n", {"files_are": "owners"}, "both files_are: owners and owner"),
        ("p,1,0\nq,2,1\n", {"domain": "home"}, "domain names the one domain"),
        ("p,1,0\nq,2,1\n", {"owner": None, "split": "by_owner"}, "by_owner needs owners"),
    ],
)
def test_owners_that_make_no_sense_are_refused(
    tmp_path: Path, cells: str, more: dict[str, Any], said: str
) -> None:
    (tmp_path / "a.csv").write_text("who,x,y\n" + cells)
    with pytest.raises((InputError, ValueError), match=said):
        load(tmp_path, {"name": "csv", "files": {"a": "a.csv"}, "owner": "who", **more})


def test_an_owner_in_two_domains_cannot_be_a_test_owner(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table(tmp_path / f"{name}.csv")
    source = {"name": "csv", "files": "*.csv", "owner": "patient", "categorical": "sex"}
    with pytest.raises(InputError, match="'p0' is in 'a' and in 'b'"):
        load(tmp_path, {**source, "split": "by_owner"})
    data = load(tmp_path, source)
    assert data.owner_names == ("p0", "p1", "p2", "p3")  # one name is one owner


# NPZ


def test_an_array_names_owners(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    own = {"writer": np.array([3, 3, 10, 10, 10, 3]), "tester": np.array([10, 7])}
    np.savez(
        tmp_path / "a.npz",
        x_train=random.normal(size=(6, 2)),
        y_train=[0, 1, 0, 1, 0, 1],
        x_test=random.normal(size=(2, 2)),
        y_test=[0, 1],
        **own,
    )
    source = {"name": "npz", "path": "a.npz", "owner_train": "writer"}
    with pytest.raises(InputError, match="owner_test does not say"):
        load(tmp_path, source)
    data = load(tmp_path, {**source, "owner_test": "tester"})
    assert data.owner_names == ("3", "7", "10")
    assert owned(data) == {"3": 3, "7": 0, "10": 3}
    assert owned(data, "test") == {"3": 0, "7": 1, "10": 1}
    with pytest.raises(InputError, match="nothing to split by_owner"):
        load(tmp_path, {**source, "owner_test": "tester", "split": "by_owner"})


def test_archives_can_be_owners(tmp_path: Path) -> None:
    for name, rows in (("b", 10), ("a", 20)):
        inputs = np.random.default_rng(rows).normal(size=(rows, 3))
        np.savez(tmp_path / f"{name}.npz", x_train=inputs, y_train=np.arange(rows) % 2)
    data = load(tmp_path, {"name": "npz", "files": ".", "files_are": "owners", "domain": "all"})
    assert owned(data) == {"a": 16, "b": 8}


# Images


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(path)


def test_a_level_of_folders_names_owners(tmp_path: Path) -> None:
    for owner in ("anna", "ben"):
        for label in ("cat", "dog"):
            for index in range(5):
                picture(tmp_path / "pets" / "ward" / owner / label / f"{index}.png", 10 * index)
    source = {"name": "image_folder", "path": "pets", "owners": True}
    data = load(tmp_path, source)
    assert data.class_names == ("cat", "dog")
    assert owned(data) == {"anna": 8, "ben": 8}
    again = load(tmp_path, source)  # from the cache
    assert again.owner_names == ("anna", "ben")
    assert (again.train.owners == data.train.owners).all()
    tested = load(tmp_path, {**source, "split": "by_owner"})
    assert sorted(owned(tested).values()) == [0, 10]


def test_owners_in_official_splits(tmp_path: Path) -> None:
    for split, owner in (("train", "anna"), ("train", "ben"), ("test", "carl")):
        for label in ("cat", "dog"):
            picture(tmp_path / "pets" / "ward" / split / owner / label / "1.png", 9)
    data = load(tmp_path, {"name": "image_folder", "path": "pets", "owners": True})
    assert owned(data) == {"anna": 2, "ben": 2, "carl": 0}
    assert owned(data, "test") == {"anna": 0, "ben": 0, "carl": 2}


def test_made_domains_keep_owners(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(0, 255, (40, 4, 4), dtype=np.uint8)
    writer = np.arange(40) // 2 % 4
    inputs[:, 0, 0] = writer
    np.savez(tmp_path / "a.npz", x_train=inputs, y_train=np.arange(40) % 2, writer=writer)
    source = {"name": "npz", "path": "a.npz", "owner_train": "writer"}
    data = load(tmp_path, {**source, "make_domains": [{"name": "one"}, {"name": "two"}]})
    assert data.train.owners is not None
    assert (data.train.owners == data.train.inputs[:, 0, 0, 0]).all()


# LEAF


def leaf(folder: Path, users: dict[str, tuple[list[Any], list[Any]]], name: str = "a.json") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    (folder / name).write_text(json.dumps(content))


def test_leaf_images_by_user(tmp_path: Path) -> None:
    paper, ink = [1.0] * 16, [0.0] * 8 + [1.0] * 8
    leaf(tmp_path / "femnist" / "train", {"w1": ([paper, ink], [0, 1])}, "a.json")
    leaf(tmp_path / "femnist" / "train", {"w2": ([ink] * 3, [1, 1, 0])}, "b.json")
    leaf(tmp_path / "femnist" / "test", {"w2": ([paper], [0]), "w3": ([ink], [1])})
    source = {"name": "leaf", "path": "femnist", "shape": [4, 4], "invert": True}
    data = load(tmp_path, source)
    assert data.train.inputs[0].max() == 0
    assert data.train.inputs[1, 0].tolist() == [[255] * 4] * 2 + [[0] * 4] * 2
    assert data.train.labels.tolist() == [0, 1, 1, 1, 0]
    assert owned(data) == {"w1": 2, "w2": 3, "w3": 0}
    assert owned(data, "test") == {"w1": 0, "w2": 1, "w3": 1}


def test_leaf_without_splits_and_with_token_ids(tmp_path: Path) -> None:
    words = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]]
    leaf(tmp_path / "words", {"u": (words, list("abab")), "v": (words, list("baba"))})
    data = load(tmp_path, {"name": "leaf", "path": "words"})
    assert data.train.inputs.dtype == np.int64
    assert owned(data) == {"u": 3, "v": 3}
    assert data.class_names == ("a", "b")


def test_leaf_texts_need_a_way_to_token_ids(tmp_path: Path) -> None:
    from fedlab.data.leaf import Leaf

    class Letters(Leaf):
        name: str = "letters"  # type: ignore[assignment]

        def encode(self, samples: Any, context: Any) -> np.ndarray:
            return np.array([[ord(letter) for letter in text] for text in samples])

    leaf(tmp_path / "w", {"u": (["ab", "cd"], ["x", "y"]), "v": (["ab", "ef"], ["x", "y"])})
    with pytest.raises(InputError, match="the samples are texts \\('ab'\\)"):
        load(tmp_path, {"name": "leaf", "path": "w"})
    data = load(tmp_path, {"name": Letters, "path": "w"})
    assert data.train.inputs.shape == (2, 2)
    assert data.train.inputs.dtype == np.int64


@pytest.mark.parametrize(
    ("users", "more", "said"),
    [
        ({"u": ([[1.0]], [0, 1])}, {}, "user 'u' has 1 samples and 2 labels"),
        ({"u": ([[1.0], [1.0, 2.0]], [0, 1])}, {}, "sample 1 of user 'u' has 2 numbers, and its"),
        ({"u": ([[1.0], [0.5]], [0, 1])}, {}, "names one owner alone"),
        ({"u": ([[0.1] * 3] * 2, [0, 1])}, {"shape": [2, 2]}, "3 numbers, which is not"),
        ({"u": ([[9.0] * 4] * 2, [0, 1])}, {"shape": [2, 2]}, "images in 0 to 1"),
        ({"u": ([[1, 0]] * 2, [0, 1])}, {"shape": [1, 2]}, "are the whole numbers 0 and 1"),
        ({"u": (["ab", [1.0]], [0, 1])}, {}, "are texts and lists of numbers"),
        ({"u": (["ab"] * 2, [0, 1])}, {"shape": [1, 2]}, "shape is of images, and the samples are"),
    ],
)
def test_leaf_files_that_are_not_leafs(
    tmp_path: Path, users: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    leaf(tmp_path / "l", users)
    with pytest.raises(InputError, match=said):
        load(tmp_path, {"name": "leaf", "path": "l", **more})


def test_leaf_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.json file"):
        load(tmp_path, {"name": "leaf", "path": "nowhere"})
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "a.json").write_text('{"users": ["u"]}')
    with pytest.raises(InputError, match="not of LEAF's form"):
        load(tmp_path, {"name": "leaf", "path": "l"})
    (tmp_path / "l" / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="not of LEAF's form"):
        load(tmp_path, {"name": "leaf", "path": "l"})
    one = '{"x": [[1], [2]], "y": [0, 1]}'
    content = f'{{"users": ["u", "v", "u"], "user_data": {{"u": {one}, "v": {one}}}}}'
    (tmp_path / "l" / "a.json").write_text(content)
    with pytest.raises(InputError, match="or one of them twice; list each once"):
        load(tmp_path, {"name": "leaf", "path": "l"})
    with pytest.raises(ValueError, match="invert is of images; give their shape"):
        load(tmp_path, {"name": "leaf", "path": "l", "invert": True})


def test_leaf_splits_have_one_scale(tmp_path: Path) -> None:
    grey, black_and_white = [0.5, 1.0, 0.0, 0.0], [0, 1, 0, 1]  # JSON of 0.0 may well be 0
    users = {"u": ([grey] * 2, [0, 1]), "v": ([grey] * 2, [0, 1])}
    leaf(tmp_path / "l" / "train", users)
    leaf(tmp_path / "l" / "test", {"u": ([black_and_white] * 2, [0, 1])})
    data = load(tmp_path, {"name": "leaf", "path": "l", "shape": [2, 2]}, image_size=2)
    assert data.train.inputs[0].tolist() == [[[128, 255], [0, 0]]]
    assert data.test.inputs[0].tolist() == [[[0, 255], [0, 255]]]


# Digits


def test_made_up_writers(tmp_path: Path) -> None:
    source = {"name": "digits", "domains": ["handwritten"], "train_per_domain": 60}
    source |= {"test_per_domain": 30, "writers": 12}
    data = load(tmp_path, source, image_size=28)
    assert data.owner_names[:2] == ("handwritten 00", "handwritten 01")
    assert min(owned(data).values()) >= 1
    assert min(owned(data, "test").values()) >= 1
    with pytest.raises(InputError, match="31 writers are more than the 30 test images"):
        load(tmp_path, {**source, "writers": 31}, image_size=28)
