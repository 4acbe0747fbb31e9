"""A device's own data, of every kind that a scenario reads files of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from fedlab.deploy.device.local_data import OwnData, load_own_data
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from fedlab.scenario_file import load_scenario

PICTURE, ROW = (1, 4, 4), (2,)


def join(
    path: Path, source: dict[str, Any], shape: Sequence[int], domain: str | None = None, **data: Any
) -> OwnData:
    """A device's data for a scenario whose server has the same kind of source elsewhere."""
    block = {"sources": [source], "root": "/of/the/server", "channels": 1, "image_size": 4, **data}
    values: dict[str, Any] = {"name": "t", "data": block, "partition": {"clients": 2}}
    values = load_scenario({**values, "model": "linear"}).model_dump(mode="json")
    return load_own_data(values, path, domain, ("no", "yes"), tuple(shape))


def sizes(own: OwnData) -> tuple[int, int]:
    return len(own.data.train), len(own.data.test)


def frame(**columns: Any) -> pandas.DataFrame:
    """Ten rows of two features."""
    own = {"a": np.arange(10.0), "b": -np.arange(10.0), "ill": ["no", "yes"] * 5}
    return pandas.DataFrame(own | columns)


def test_pictures_that_a_table_names(tmp_path: Path) -> None:
    for place in range(10):
        Image.new("L", (4, 4), place).save(tmp_path / f"{place}.png")
    table = frame(view=[f"{place}.png" for place in range(10)], patient="p1", site="north")
    table.to_csv(tmp_path / "scans.csv", index=False)
    source = {"name": "image_table", "train": "xrays/train.csv", "test": "xrays/valid.csv"}
    source |= {"images": "xrays", "file": "view", "label": "ill", "owner": "patient"}
    own = join(tmp_path / "scans.csv", source, PICTURE)
    assert (own.domain, sizes(own)) == ("scans", (8, 2))
    del source["test"]
    sites = source | {"domain_column": "site", "split": "by_owner", "test_share": 0.5}
    with pytest.raises(InputError, match="by_owner: domain 'scans' has the one owner 'p1'"):
        join(tmp_path / "scans.csv", sites, PICTURE)
    own = join(tmp_path / "scans.csv", sites | {"split": "within_owners"}, PICTURE)
    assert sizes(own) == (5, 5)


def test_arrays_in_files_are_called_as_the_scenario_calls_them(tmp_path: Path) -> None:
    rows = frame()
    for split, count in (("train", 10), ("test", 4)):
        np.save(tmp_path / f"x_{split}.npy", rows[["a", "b"]].to_numpy(np.float32)[:count])
        np.save(tmp_path / f"labels-{split}.npy", rows["ill"].to_numpy(str)[:count])
    files = {f"x_{split}": f"big/x_{split}.npy" for split in ("train", "test")}
    files |= {f"y_{split}": f"big/labels-{split}.npy" for split in ("train", "test")}
    owners = {f"owner_{split}": f"big/who-{split}.npy" for split in ("train", "test")}
    own = join(tmp_path, {"name": "npy", **files, **owners}, ROW, domain="north")
    assert (own.domain, sizes(own)) == ("north", (10, 4))
    (tmp_path / "labels-test.npy").unlink()
    with pytest.raises(InputError, match=r"--data\.y_test: '.*labels-test.npy'"):
        join(tmp_path, {"name": "npy", **files}, ROW)


PARQUET = {"name": "parquet", "train": "sites", "label": "ill", "owner": "patient"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["own.parquet"], (8, 2)),
        (["train/0.parquet", "train/1.parquet", "test/0.parquet"], (20, 10)),
        (["train-0.parquet", "train-1.parquet", "test-0.parquet"], (20, 10)),
        (["one.parquet", "two.parquet"], (16, 4)),
    ],
)
def test_parquet_files(tmp_path: Path, files: list[str], found: tuple[int, int]) -> None:
    for name in files:
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        frame(patient="p1", site="north").to_parquet(tmp_path / "own" / name)
    path = tmp_path / "own" / files[0] if len(files) == 1 else tmp_path / "own"
    for source in (PARQUET, PARQUET | {"name": "hf", "dataset": "lab/patients", "train": "train"}):
        own = join(path, source | {"domain_column": "site"}, ROW)
        assert (own.domain, sizes(own)) == ("own", found)
    own = join(path, PARQUET | {"domain_column": "site", "columns": ["b", "a"]}, ROW)
    assert (own.data.train.inputs[:, 0] <= 0).all()


def test_pictures_of_a_parquet_file_need_no_source_of_their_kind(tmp_path: Path) -> None:
    cells = []
    for place in range(10):
        Image.new("L", (4, 4), place).save(tmp_path / "one.png")
        cells.append((tmp_path / "one.png").read_bytes())
    table = pandas.DataFrame({"image": cells, "label": ["no", "yes"] * 5})
    table.to_parquet(tmp_path / "own.parquet")
    own = join(tmp_path / "own.parquet", {"name": "image_folder", "path": "shots"}, PICTURE)
    assert sizes(own) == (8, 2)


@pytest.mark.parametrize("splits", [(), ("train", "test")])
def test_a_user_of_leafs(tmp_path: Path, splits: tuple[str, ...]) -> None:
    x = [[float(place), 1.0] for place in range(10)]
    data = {"u1": {"x": x, "y": ["no", "yes"] * 5}}
    content = {"users": ["u1"], "num_samples": [10], "user_data": data}
    for split in splits or (".",):
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / "data.json").write_text(json.dumps(content))
    source = {"name": "leaf", "path": "femnist", "test_share": 0.4, "split": "by_owner"}
    if not splits:
        source["split"] = "within_owners"
    own = join(tmp_path, source, ROW)
    assert sizes(own) == ((10, 10) if splits else (6, 4))


def test_what_the_library_of_hugging_face_has_saved(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="needs the extra hf (datasets)")
    datasets.disable_progress_bars()
    datasets.Dataset.from_pandas(frame()).save_to_disk(tmp_path / "own")
    source = {"name": "hf", "dataset": "lab/patients", "revision": "v1", "label": "ill"}
    own = join(tmp_path / "own", source, ROW)
    assert (own.domain, sizes(own)) == ("own", (8, 2))


def test_one_owner_and_a_split_of_ones_own_are_enough_for_a_device(tmp_path: Path) -> None:
    frame(patient="p1").to_csv(tmp_path / "own.csv", index=False)
    source = {"name": "csv", "files": "sites", "label": "ill", "owner": "patient"}
    assert sizes(join(tmp_path / "own.csv", source, ROW)) == (8, 2)
    x, y = frame()[["a", "b"]].to_numpy(np.float32), frame()["ill"].to_numpy(str)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    for keys in ({"test_share": 0.5}, {"files_are": "owners", "split": "by_owner"}):
        source = {"name": "npz", "files": "sites", **keys}
        assert sizes(join(tmp_path / "own.npz", source, ROW)) == (10, 4)
    source = {"name": "csv", "files": "sites", "label": "ill", "files_are": "owners"}
    frame().to_csv(tmp_path / "bare.csv", index=False)
    own = join(tmp_path / "bare.csv", source | {"domain": "all"}, ROW)
    assert (own.domain, sizes(own)) == ("bare", (8, 2))


def test_categories_of_all_tables_are_not_for_devices(tmp_path: Path) -> None:
    frame(kind=["u", "v"] * 5).to_csv(tmp_path / "a.csv", index=False)
    source = {"name": "csv", "files": "a.csv", "label": "ill", "categorical": "kind"}
    data = {"sources": [source], "root": tmp_path, "normalisation": {"mean": 0, "std": 1}}
    scenario = load_scenario(
        {"name": "t", "data": data, "partition": {"clients": 1}, "model": "linear"}
    )
    with pytest.raises(InputError, match=r"sources\.0\.categorical: .*which no device sees; save"):
        setup_of(scenario)


def test_a_folder_of_several_kinds_is_what_the_scenario_reads(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for place in range(5):
            Image.new("L", (4, 4), place).save(tmp_path / "own" / name / f"{place}.png")
    (tmp_path / "own" / "notes.json").write_text("{}")
    frame(patient="p1").to_parquet(tmp_path / "own" / "rows.parquet")
    pictures = join(tmp_path / "own", {"name": "image_folder", "path": "shots"}, PICTURE)
    rows = join(tmp_path / "own", PARQUET, ROW)
    assert pictures.data.input_shape == PICTURE
    assert rows.data.input_shape == ROW


OWNED = {"name": "npz", "path": "all.npz", "owner_train": "writer", "split": "by_owner"}


@pytest.mark.parametrize("owned", [True, False])
def test_a_file_without_owners_is_of_one_owner(owned: bool, tmp_path: Path) -> None:
    rows = frame()
    whose = {"writer": np.arange(len(rows)) % 5} if owned else {}
    inputs, labels = rows[["a", "b"]].to_numpy(np.float32), rows["ill"].to_numpy(str)
    arrays: dict[str, Any] = {"x_train": inputs, "y_train": labels, **whose}
    np.savez(tmp_path / "north.npz", **arrays)
    train, test = sizes(join(tmp_path / "north.npz", OWNED, ROW))
    assert train + test == len(rows)
    assert min(train, test) > 0


def test_a_key_that_only_the_server_can_set_is_called_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "north.npz", x_train=np.zeros((4, 2)), labels=np.arange(4))
    with pytest.raises(InputError, match="labels; let the server's scenario set y_train to"):
        join(tmp_path / "north.npz", {"name": "npz", "path": "all.npz"}, ROW)


def test_a_table_without_the_column_of_owners_is_of_one_owner(tmp_path: Path) -> None:
    """Nor need the column of domains be there, which is of no use to one device."""
    bare, whole = frame(), frame(patient=[0, 1] * 5, site="north")
    source = {"label": "ill", "owner": "patient", "domain_column": "site", "split": "by_owner"}
    for rows, name in ((bare, "bare"), (whole, "whole")):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        rows.to_parquet(tmp_path / f"{name}.parquet")
        own = source | {"test_share": 0.5}
        csv = join(tmp_path / f"{name}.csv", {"name": "csv", "files": "all.csv", **own}, ROW)
        parquet = {"name": "parquet", "train": "all.parquet", **own}
        assert sizes(csv) == sizes(join(tmp_path / f"{name}.parquet", parquet, ROW)) == (5, 5)


def test_a_table_that_lacks_what_is_learnt_is_refused(tmp_path: Path) -> None:
    frame().drop(columns="ill").to_csv(tmp_path / "own.csv", index=False)
    source = {"name": "csv", "files": "all.csv", "label": "ill", "owner": "patient"}
    with pytest.raises(InputError, match="ill"):
        join(tmp_path / "own.csv", source, ROW)


def test_pictures_need_no_column_of_owners(tmp_path: Path) -> None:
    for place in range(10):
        Image.new("L", (4, 4), place).save(tmp_path / f"{place}.png")
    table = frame(view=[f"{place}.png" for place in range(10)])
    table.to_csv(tmp_path / "scans.csv", index=False)
    source = {"name": "image_table", "train": "all.csv", "images": "xrays", "file": "view"}
    own = join(tmp_path / "scans.csv", source | {"label": "ill", "owner": "patient"}, PICTURE)
    assert sizes(own) == (8, 2)
