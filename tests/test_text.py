"""Texts as samples: tables, folders, vocabularies, and the next token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fedlab.data import FederatedData
from fedlab.data.ids import Ids
from fedlab.data.load import check_places, load_data
from fedlab.data.next_token import windows
from fedlab.data.python_text import PythonText
from fedlab.data.spec import DataSpec
from fedlab.data.vocabulary import Bytes, Characters, Words, encode
from fedlab.deploy.device.local_data import load_own_data
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from helpers import toy

REVIEWS = [
    (f"A {word} film, number {place}!", label)
    for place in range(10)
    for word, label in (("fine", "good"), ("dull", "bad"))
]


def spec(folder: Path, source: dict[str, Any], **fields: Any) -> DataSpec:
    block = {"sources": [{"name": "text", **source}], "root": folder}
    return DataSpec.model_validate(block | fields)


def load(folder: Path, source: dict[str, Any], **fields: Any) -> FederatedData:
    block = spec(folder, source, **fields)
    check_places(block)
    return load_data(block)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same reviews in files of every kind."""
    table = pandas.DataFrame(REVIEWS, columns=["text", "label"])
    table["who"] = ["ann", "ann", "bob", "bob"] * 5
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_json(tmp_path / "b.jsonl", orient="records", lines=True)
    table.to_parquet(tmp_path / "c.parquet")
    for place, (text, label) in enumerate(REVIEWS):
        place_of = tmp_path / "tree" / ("north" if place % 4 < 2 else "south") / label
        place_of.mkdir(parents=True, exist_ok=True)
        (place_of / f"{place}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "play.txt").write_text("to be or not to be\r\n" * 10, encoding="utf-8", newline="")
    return tmp_path


def test_vocabularies_are_those_of_their_texts() -> None:
    words = Words(["b a b, B", "c"], most=4)
    assert words.names() == ("<pad>", "<unknown>", "b", ",")
    assert words.ids("A b.") == [1, 2, 1]
    signs = Characters(["b a\n", "e\u0301"])
    assert signs.names() == ("<pad>", "<unknown>", "newline", "space", "a", "b", "é")
    assert signs.ids("éab?") == [6, 4, 5, 1]
    assert Bytes().ids("é") == [0xC3 + 1, 0xA9 + 1]
    assert (Bytes().size, len(Bytes().names())) == (257, 257)
    assert encode(["ab", "abab", ""], signs, 3).tolist() == [[4, 5, 0], [4, 5, 4], [0, 0, 0]]


@pytest.mark.parametrize("name", ["a.csv", "b.jsonl", "c.parquet"])
def test_tables_of_every_kind_hold_the_same_texts(folder: Path, name: str) -> None:
    data = load(folder, {"files": {"one": name}, "length": 8})
    assert data.class_names == ("bad", "good")
    assert (data.train.inputs.shape, data.train.inputs.dtype) == ((16, 8), np.int64)
    assert data.ids is not None
    again = load(folder, {"files": {"one": "a.csv"}, "length": 8})
    assert (again.train.inputs == data.train.inputs).all()
    assert (again.train.labels == data.train.labels).all()


def test_a_column_may_name_the_domains(folder: Path) -> None:
    files = {"files": {"one": "a.csv"}, "domain_column": "who", "tokenizer": "bytes"}
    data = load(folder, files)
    assert data.domain_names == ("ann", "bob")
    assert data.ids == Ids(vocabulary=257, pad=0, length=64)


def test_folders_are_domains_and_classes(folder: Path) -> None:
    data = load(folder, {"path": "tree"})
    assert data.domain_names == ("north", "south")
    assert data.class_names == ("bad", "good")
    assert len(data.train) + len(data.test) == 20


def test_a_vocabulary_is_of_training_texts_that_clients_own(folder: Path) -> None:
    table = pandas.DataFrame([(f"strange word{k}", "good") for k in range(10)] + [("x", "bad")] * 5)
    table.columns = ["text", "label"]
    table.to_csv(folder / "odd.csv", index=False)
    files = {"files": {"one": "a.csv", "odd": "odd.csv"}, "length": 4}
    seen, unseen = load(folder, files), load(folder, files, unseen_domains="odd")
    alone = load(folder, {"files": {"one": "a.csv"}, "length": 4})
    assert unseen.ids == alone.ids
    assert seen.ids is not None
    assert unseen.ids is not None
    assert (seen.ids.vocabulary or 0) > (unseen.ids.vocabulary or 0)
    assert (unseen.train.inputs[unseen.train.domains == 1] <= 1).all()


def test_what_is_longer_is_cut_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(folder, {"files": {"one": "a.csv"}, "length": 3})
    assert data.input_shape == (3,)
    assert "data.sources.0.length: cut 20 texts after 3 tokens (of 20)" in caplog.text
    data = load(folder, {"files": {"one": "a.csv"}}, inputs="ids", ids={"length": 5})
    assert data.input_shape == (5,)


def test_windows_and_what_follows_them() -> None:
    inputs, labels = windows([1, 2, 3, 4, 5, 6], length=2, stride=2)
    assert (inputs.tolist(), labels.tolist()) == ([[1, 2], [3, 4]], [3, 5])
    assert windows([1, 2], 2, 1)[0].shape == (0, 2)


def test_the_next_character_of_a_text(folder: Path) -> None:
    source = {"files": {"play": "play.txt"}, "task": "next_token", "tokenizer": "characters"}
    data = load(folder, source | {"length": 4})
    names = data.class_names
    assert names[:4] == ("<pad>", "<unknown>", "newline", "space")
    text = "to be or not to be\n" * 10
    said = "".join(
        {"space": " ", "newline": "\n"}.get(names[k], names[k])
        for k in [*data.train.inputs[0], *data.train.labels]
    )
    assert said == text[: round(0.8 * len(text))]
    assert len(data.test) == len(text) - len(said) - 4
    assert data.ids == Ids(vocabulary=len(names), pad=0, length=4)


def tokenizer_file(path: Path, **special: int) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    known = {**special, "[UNK]": 2, "good": 3, "film": 4, "fine": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_padding(length=50, pad_id=special.get("[PAD]", 0)) if special else None
    made.save(str(path))


def test_a_tokenizer_file_says_everything(folder: Path) -> None:
    source = {"files": {"one": "a.csv"}, "tokenizer": "tokenizer.json", "length": 6}
    tokenizer_file(folder / "tokenizer.json", **{"[PAD]": 1})
    data = load(folder, source)
    assert data.ids == Ids(vocabulary=6, pad=1, length=6)
    fine = data.train.inputs[data.train.labels == 1]
    assert fine[:, :4].tolist() == [[2, 5, 4, 2]] * len(fine)
    tokenizer_file(folder / "tokenizer.json")
    assert load(folder, source).ids == Ids(vocabulary=7, pad=6, length=6)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"files": {"a": "a.csv"}, "text": "words"}, r"no column 'words', only text, label, who;"),
        ({"files": {"a": "a.csv"}, "label": "y"}, r"no column 'y'.*set data\.sources\.0\.label to"),
        ({"files": {"a": "b.jsonl"}, "domain_column": "y"}, r"set data\.sources\.0\.domain_column"),
        ({"files": {"a": "empty.txt"}, "task": "next_token"}, r"'.*empty\.txt' is empty; write"),
        ({"files": {"a": "blank.csv"}}, r"row 3 has nothing in the column 'text'; write a text"),
        ({"files": {"a": "play.txt"}}, r"is a plain text, which has no columns"),
        ({"files": {"a": "gone.csv"}}, r"gone\.csv' does not exist"),
        ({"files": {"a": "odd.jsonl"}}, r"odd\.jsonl' cannot be read as jsonl \(line 1 is no obj"),
        ({"files": {"a": "a.npz"}}, r"ends with '\.npz'; texts are read from \.csv, \.jsonl"),
        ({"path": "nothing"}, r"data\.sources\.0\.path: .* has no folder of a domain"),
        ({"files": {"a": "a.csv"}, "tokenizer": "blank.csv"}, r"is no tokenizer file \(.*name a"),
        ({"files": {"a": "commas.csv"}}, r"has 3 cells in the row that ends with line 3 but 2 in"),
        ({"files": {"a": "twice.csv"}}, r"has the column 'label' twice in its header"),
        (
            {"files": {"a": "open.csv"}},
            r"open\.csv' cannot be read as a CSV file \(.*line 3\); clo",
        ),
        ({"files": {"a": "nan.jsonl"}}, r"row 2 has nothing that names a class .* column 'label'"),
        ({"files": {"a": "deep.jsonl"}}, r"deep\.jsonl' cannot be read as jsonl"),
        (
            {"files": {"a": "play.txt"}, "task": "next_token", "text": "said"},
            r"is a plain text, which has no column 'said'; leave data\.sources\.0\.text out",
        ),
        ({"files": {"a": "a.csv"}, "tokenizer": "bpe"}, r"tokenizer: '.*bpe' does not exist"),
        (
            {"files": {"a": "play.txt"}, "task": "next_token", "length": 150},
            r"domain 'a' has \d+ tokens .* a window takes 150 and the one that follows",
        ),
    ],
)
def test_what_is_no_text_is_refused(folder: Path, source: dict, message: str) -> None:
    (folder / "empty.txt").write_text(" \n")
    (folder / "blank.csv").write_text("text,label\nfine,good\n,bad\n")
    (folder / "commas.csv").write_text("text,label\nfine,good\nI like it, a lot,good\n")
    (folder / "twice.csv").write_text("text,label,label\nfine,good,1\n")
    (folder / "open.csv").write_text('text,label\nfine,good\ndull,"bad\n')
    (folder / "nan.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n')
    (folder / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (folder / "odd.jsonl").write_text("[1, 2]\n")
    np.savez(folder / "a.npz", x=np.zeros(1))
    (folder / "nothing").mkdir()
    with pytest.raises(InputError, match=message):
        load(folder, source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "needs either path"),
        ({"path": "tree", "domain_column": "who"}, "domain_column goes with files"),
        ({"path": "tree", "text": "body"}, "text names a column of a table, and path is of plain"),
        ({"path": "tree", "label": "y"}, "label names a column of a table, and path is of plain"),
        ({"path": "tree", "task": "next_token"}, "list them as files"),
        ({"files": {"a": "a.csv"}, "stride": 2}, "stride goes with task: next_token only"),
        ({"files": {"a": "a.csv"}, "tokenizer": "bytes", "most_words": 9}, "most_words goes with"),
        ({"files": "x/*.txt", "task": "next_token", "class_names": ["a"]}, "has none"),
        ({"files": "x/*.txt", "task": "next_token", "label": "y"}, "label goes with task: classes"),
    ],
)
def test_parameters_that_would_do_nothing_are_refused(source: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(Path(), source)


def test_texts_are_never_scaled(folder: Path) -> None:
    with pytest.raises(InputError, match="the source yields ids, which cannot be scaled"):
        load(folder, {"files": {"a": "a.csv"}}, normalisation={"mean": 1.0})
    with pytest.raises(InputError, match=r"vocabulary: 3 is less than the \d+ of the source"):
        load(folder, {"files": {"a": "a.csv"}}, inputs="ids", ids={"vocabulary": 3})
    with pytest.raises(InputError, match=r"data\.ids\.pad: 1 is not what the source fills up with"):
        load(folder, {"files": {"a": "a.csv"}}, inputs="ids", ids={"pad": 1})


def test_devices_need_a_vocabulary_that_all_of_them_have(folder: Path) -> None:
    source = {"name": "text", "files": {"one": "a.csv", "two": "b.jsonl"}, "length": 8}
    data = {"sources": [source | {"tokenizer": "bytes"}], "root": str(folder)}
    whole = toy.scenario(data=data, model="text_mean", partition={"clients": 2})
    setup = setup_of(whole)
    values = whole.model_dump(mode="json")
    own = load_own_data(values, folder / "c.parquet", "two", setup.classes, setup.shape)
    assert own.data.input_shape.ids == setup.shape.ids  # type: ignore[attr-defined]
    data["sources"] = [source]
    with pytest.raises(InputError, match="for texts: a tokenizer file or tokenizer: bytes"):
        setup_of(toy.scenario(data=data, model="text_mean", partition={"clients": 2}))


def test_python_comes_with_texts(tmp_path: Path) -> None:
    block = {"sources": [{"name": "python_text", "modules": ["this"], "length": 10}]}
    data = load_data(DataSpec.model_validate(block))
    names = data.class_names
    assert "".join(names[k] for k in data.train.inputs[0]).startswith("Thespace")
    with pytest.raises(InputError, match="no module 'math' that is written in Python"):
        load_data(
            DataSpec.model_validate({"sources": [{"name": "python_text", "modules": ["math"]}]})
        )
    assert PythonText(modules=("this",)).task == "next_token"


def test_lines_of_json_need_not_be_sorted(folder: Path) -> None:
    rows = [{"label": k % 2, "text": f"t {k}"} for k in range(10)]
    (folder / "n.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert load(folder, {"files": {"n": "n.jsonl"}}).class_names == ("0", "1")


def test_folders_of_texts_in_other_spellings(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = folder / "tree"
    (tree / "south").rename(tree / "Zu\u0308rich ")
    (tree / "north" / "good" / "0.txt").rename(tree / "north" / "good" / "0.TXT")
    (tree / "north" / "notes.md").write_text("no text")
    data = load(folder, {"path": "tree"}, domains=["north", "Z\u00fcrich"])
    assert len(data.train) + len(data.test) == 20
    assert "left out 1 file (.md) that are no <domain>/<class>/<text>.txt" in caplog.text
    (tree / "north" / "ugly").mkdir()
    with pytest.raises(InputError, match=r"the class folder '.*ugly' has no \.txt file; add some"):
        load(folder, {"path": "tree"})


def test_two_sources_have_to_mean_the_same_by_an_id(folder: Path) -> None:
    def both(**more: Any) -> FederatedData:
        sources = [{"name": "text", "files": {n: n}, **more} for n in ("a.csv", "b.jsonl")]
        return load_data(DataSpec.model_validate({"sources": sources, "root": folder}))

    assert both(tokenizer="bytes").domain_names == ("a.csv", "b.jsonl")
    with pytest.raises(InputError, match=r"data\.sources\.1: an id is another token here than in"):
        both(most_words=9)  # as many words, and not the same ones
