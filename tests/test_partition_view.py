"""Tables and pictures of partitions."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from rich.console import Console

from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.partition import Partition
from fedlab.report import partition_table
from fedlab.report.colours import domain_colours
from fedlab.report.partition_measures import (
    class_counts,
    domain_counts,
    label_distances,
    measures,
)
from fedlab.report.partition_table import write_table
from fedlab.report.terminal.partition_view import draw, render
from helpers.pools import NAMES, divided, pools, sizes, table


def _printed(partition: Partition, data: FederatedData, width: int = 110) -> str:
    console = Console(file=StringIO(), width=width)
    render(partition, data, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def _cells(printed: str, first: str) -> list[list[str]]:
    """The cells of all table rows whose first cell is `first`."""
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    stripped = [[cell.strip() for cell in row] for row in rows]
    return [row for row in stripped if row[0] == first]


@pytest.mark.parametrize("split", ["train", "test"])
def test_counts_are_those_of_the_samples(split: Any) -> None:
    data = pools(domains=3)
    partition = divided(data, 8, domains="mixed", labels={"name": "dirichlet", "alpha": 0.5})
    counts = table(partition, data, test=split == "test")
    assert (class_counts(partition, data, split) == counts.sum(axis=1)).all()
    assert (domain_counts(partition, data, split) == counts.sum(axis=2)).all()


def test_label_distances_are_total_variations() -> None:
    assert label_distances(np.array([[5, 5], [5, 5]])).tolist() == [0, 0]
    assert label_distances(np.array([[8, 0], [0, 8]])).tolist() == [0.5, 0.5]
    # All labels together: 1/4, 3/4.
    assert label_distances(np.array([[2, 2], [0, 4]])).tolist() == [0.25, 0.25]


def test_measures_give_one_number_for_each_client() -> None:
    data = pools(domains=2)
    partition = divided(data, 6, labels={"name": "classes_per_client", "count": 4})
    found = measures(partition, data)
    assert all(values.shape == (6,) for values in found.values())
    assert (found["training samples"] == sizes(partition)).all()
    assert found["domains"].tolist() == [1] * 6
    assert found["classes"].tolist() == [4] * 6


def test_few_clients_are_all_printed() -> None:
    data = pools(train=(30, 60), test=9, domains=2, classes=3)
    partition = divided(data, 3)
    printed = _printed(partition, data)
    assert "3 clients · 90 training samples · 18 test samples" in printed
    # Clients 0 and 2 share the first domain.
    assert _cells(printed, "1")[0] == ["1", "·", "60", "60", "9"]
    assert _cells(printed, "0")[0][:4] == ["0", "15", "·", "15"]
    by_class = class_counts(partition, data)
    assert _cells(printed, "1")[1] == ["1", *map(str, by_class[1])]
    assert _cells(printed, "all") == [["all", "30", "60", "90", "18"], ["all", "30", "30", "30"]]
    assert _cells(printed, "training samples") == [
        ["training samples", "30.0", "15", "15", "15", "60", "60"]
    ]


def test_many_clients_are_summarised() -> None:
    data = pools(train=4000)
    partition = divided(data, 200, labels={"name": "dirichlet", "alpha": 0.1})
    printed = _printed(partition, data)
    assert len(printed.splitlines()) < 65
    assert _cells(printed, "7")
    assert not _cells(printed, "150")
    own = sizes(partition)
    row = _cells(printed, "training samples")[0]
    assert row[1:3] == ["20.0", str(own.min())]
    assert row[-1] == str(own.max())
    skew = label_distances(class_counts(partition, data)).mean()
    assert _cells(printed, "label skew")[0][1] == f"{skew:.2f}"


def test_many_classes_are_named_by_frequency() -> None:
    data = pools(train=2000, classes=100)
    printed = _printed(divided(data, 4, labels={"name": "classes_per_client", "count": 2}), data)
    assert _cells(printed, "0")[1][1] == "2"
    assert "50%" in _cells(printed, "0")[1][2]


def test_many_domains_are_named_by_frequency() -> None:
    data = pools(domains=5, train=(400, 300, 200, 60, 40))
    partition = divided(data, 4, domains="mixed")
    narrow = _printed(partition, data, width=50)
    assert max(map(len, narrow.splitlines())) <= 50
    counts = domain_counts(partition, data)
    (first, *_), most = _cells(narrow, "0"), int(counts[0].argmax())
    assert first[1:3] == [f"{np.count_nonzero(counts[0])}", f"{counts[0].sum()}"]
    assert first[4].startswith(f"{NAMES[most]} {counts[0].max() / counts[0].sum():.0%}")
    assert _cells(narrow, "all")[0][1:3] == ["5", "1,000"]
    assert "photo" in _printed(partition, data, width=110).splitlines()[3]


def test_the_headline_says_what_is_unusual() -> None:
    data = pools(train=1000, domains=2, unseen=(1,))
    plain = _printed(divided(data, 4), data).splitlines()[0]
    assert plain == "4 clients · 1,000 training samples · 100 test samples"
    partition = divided(
        data,
        4,
        quantity={"name": "equal", "samples_per_client": 100},
        label_budget={"share": 0.5},
        label_noise={"name": "pair", "rate": 1.0},
    )
    unusual = _printed(partition, data, width=200).splitlines()[0]
    assert "600 training samples unused" in unusual
    assert f"{partition.labelled.mean():.1%} labelled" in unusual
    assert "100.0% of labels wrong" in unusual


@pytest.mark.slow_for("70-40-3")
@pytest.mark.parametrize(("clients", "classes", "domains"), [(1, 3, 1), (5, 10, 5), (70, 40, 3)])
def test_pictures_of_all_sizes(tmp_path: Path, clients: int, classes: int, domains: int) -> None:
    data = pools(train=400, domains=domains, classes=classes)
    path = tmp_path / "new folder" / "partition.png"
    draw(divided(data, clients), data, path)
    pixels = imread(path)[:, :, :3]
    assert 400 < pixels.shape[0] < 1600
    assert 900 < pixels.shape[1] < 2000
    for colour in domain_colours(domains):
        exact = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        shown = np.isclose(pixels, exact, atol=0.01).all(axis=2)
        assert shown.sum() > 500  # every domain is there in its colour


def test_pictures_need_a_known_ending(tmp_path: Path) -> None:
    data = pools()
    with pytest.raises(InputError, match=r"partition\.jpeg2000.* ending in \.png"):
        draw(divided(data, 2), data, tmp_path / "partition.jpeg2000")


@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_the_table_has_a_row_for_every_sample(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(partition_table, "PIECE", piece)
    data = pools(60, 20, domains=3, unseen=(2,))
    noisy = {"label_noise": {"name": "symmetric", "rate": 0.5}, "label_budget": {"share": 0.5}}
    partition = divided(data, 4, **noisy)
    write_table(partition, data, tmp_path / "who.csv")
    rows_of: Any = pd.read_csv(tmp_path / "who.csv")
    assert len(rows_of) == len(data.train) + len(data.test)
    assert rows_of[rows_of.domain == data.domain_names[2]].client.isna().all()
    for client in range(4):
        own = rows_of[(rows_of.client == client) & (rows_of.split == "train")]
        split = partition[client]
        rows = sorted(split.train.tolist())
        place = [data.domain_names.index(name) for name in own.domain]
        assert (own["sample"] + 60 * np.array(place)).tolist() == rows
        assert [data.class_names[k] for k in data.train.labels[rows]] == own["class"].tolist()
        order = np.argsort(split.train)
        assert [data.class_names[k] for k in split.labels[order]] == own.label.tolist()
        assert (own.labelled == "yes").tolist() == split.labelled[order].tolist()
        assert (rows_of.client[rows_of.split == "test"] == client).sum() == len(split.test)


def test_held_out_clients_are_marked_in_tables_and_file(tmp_path: Path) -> None:
    data = pools(60, 20, domains=2)
    partition = divided(data, 4, held_out_clients=[1, 3])
    console = Console(file=StringIO(), width=120)
    render(partition, data, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 held out, never trained (*): 1, 3" in shown
    assert [len(re.findall(rf"\b{k}\* ", shown)) for k in range(4)] == [0, 2, 0, 2]
    write_table(partition, data, tmp_path / "who.csv")
    rows_of: Any = pd.read_csv(tmp_path / "who.csv")
    owned = rows_of[rows_of.client.notna()]
    assert ((owned.held_out == "yes") == owned.client.isin([1, 3])).all()
    write_table(divided(data, 4), data, tmp_path / "all.csv")
    assert "held_out" not in pd.read_csv(tmp_path / "all.csv").columns


def test_beyond_ten_domains_colours_begin_again():
    assert len(set(domain_colours(10))) == 10
    assert domain_colours(12)[10:] == domain_colours(2)
