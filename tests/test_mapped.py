"""Samples that stay in their files, and are mapped by every process."""

from __future__ import annotations

import os
import pickle
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

import fedlab
from fedlab.data import Domain, FederatedData, LoadContext, Source, load_data, mapped, mapped_pool
from fedlab.data.mapped import file_of
from fedlab.data.mapped_pool import MappedPool, Part
from fedlab.data.moments import moments
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.sample_reading import AHEAD_BYTES, KEPT_BYTES, LastUsed, ReadAhead
from fedlab.errors import InputError, LostDataError
from fedlab.runs.fingerprint import fingerprint
from fedlab.scenario import EngineSpec, Scenario
from fedlab.simulation import simulate
from helpers.processes import PATIENCE, wait_until
from helpers.running import At, result

SCENARIO = """\
name: large
rounds: 2
data:
  root: {root}
  sources:
    - {source}
  image_size: 8
  channels: 1
partition: {{clients: natural}}
model: {{name: small_cnn, widths: [4, 4, 4], norm: group}}
training: {{batch_size: 8, optimizer: {{lr: 0.05}}}}
resources: {{backend: local}}
"""
FILES = {
    "name": "npy",
    "domain": "all",
    "x_train": "x.npy",
    "y_train": "y.npy",
    "x_test": "tx.npy",
    "y_test": "ty.npy",
    "owner_train": "o.npy",
    "owner_test": "to.npy",
}
ARCHIVE = {
    "name": "npz",
    "domain": "all",
    "path": "a.npz",
    "owner_train": "owners",
    "owner_test": "test_owners",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same samples in files of one array and in an archive; small arrays are mapped, too."""
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    random = np.random.default_rng(0)
    arrays = {}
    for name, rows in (("", 60), ("t", 20)):
        arrays[name + "x"] = random.integers(0, 256, (rows, 1, 8, 8), dtype=np.uint8)
        arrays[name + "y"] = np.arange(rows) // 4 % 2
        arrays[name + "o"] = np.arange(rows) % 4
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(
        tmp_path / "a.npz",
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=arrays["tx"],
        y_test=arrays["ty"],
        owners=arrays["o"],
        test_owners=arrays["to"],
    )
    return tmp_path


def load(folder: Path, **more: Any) -> FederatedData:
    data = {key: more.pop(key) for key in ("target", "inputs", "ids") if key in more}
    spec = {"sources": [{**FILES, **more}], "root": folder, "image_size": 8, "channels": 1, **data}
    return load_data(DataSpec.model_validate(spec))


def test_files_are_mapped_and_only_their_names_travel(folder: Path) -> None:
    data = load(folder)
    assert data.train.is_mapped
    packed = pickle.dumps(data)
    assert data.train.inputs[5].tobytes() not in packed
    again = pickle.loads(packed)
    assert again.train.is_mapped
    assert (again.train.inputs[:] == np.load(folder / "x.npy")).all()
    assert again.train.owners.tolist() == data.train.owners.tolist()
    assert not again.in_memory().train.is_mapped


def test_small_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "SMALLEST", 2**28)
    assert not load(folder).train.is_mapped


def test_a_file_that_changes_or_vanishes_under_a_run_is_noticed(folder: Path) -> None:
    data = load(folder)
    again = pickle.loads(pickle.dumps(data))
    file = folder / "x.npy"
    found = file.stat()
    assert len(data.train.inputs[3:5]) == 2  # it is open there, and not here
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    for each in (data, again):
        with pytest.raises(LostDataError, match=r"x\.npy' has changed under the run"):
            each.train.inputs[3:5]
    file.unlink()
    for each in (data, again):
        with pytest.raises(LostDataError, match=r"x\.npy' has vanished under the run"):
            each.train.inputs[0]


# ---------------------------------------------------------------------- several domains


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Sources of two large domains of features, which are mapped."""
    monkeypatch.setattr(mapped, "SMALLEST", 2**16)
    monkeypatch.setattr(mapped_pool, "PIECE", 2**14)
    sources = []
    for index, rows in enumerate((400, 600)):
        random = np.random.default_rng(index)
        place = tmp_path / f"d{index}"
        place.mkdir()
        for name, number in (("", rows), ("t", 100)):
            labels = np.arange(number) % 2
            features = random.normal(labels[:, None] + index, 1 + index, (number, 256))
            np.save(place / f"{name}x.npy", features.astype(np.float32))
            np.save(place / f"{name}y.npy", labels)
        files = {key: str(place / name) for key, name in FILES.items() if key[1:2] == "_"}
        sources.append({"name": "npy", **files})
    return sources


def of_pair(pair: list[dict[str, Any]], **data: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "pair",
            "rounds": 2,
            "data": {"sources": pair, **data},
            "partition": {"clients": 4},
            "model": {"name": "mlp", "hidden": [4]},
            "training": {"optimizer": {"lr": 0.05}},
            "resources": {"backend": "local"},
        }
    )


@pytest.mark.parametrize("few", [None, 300])
def test_domains_stay_in_their_files(pair: list[dict[str, Any]], few: int | None) -> None:
    spec = of_pair(pair, train_samples_per_domain=few).data
    fingerprint(load_data(spec))  # so that its imports are done
    tracemalloc.start()
    data = load_data(spec)
    fingerprint(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.train.is_mapped
    small = data.train.labels.nbytes + data.train.domains.nbytes
    assert len(pickle.dumps(data)) < 3 * small < data.train.inputs.nbytes / 10
    assert most < data.train.inputs.nbytes / 2


@pytest.mark.slow_except("{}")
@pytest.mark.parametrize(
    "data", [{}, {"train_samples_per_domain": 300}, {"unseen_domains": ["d1"]}], ids=str
)
def test_where_samples_are_changes_no_number(
    pair: list[dict[str, Any]],
    data: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = of_pair(pair, **data)
    there = simulate(scenario, out=tmp_path / "there", progress=False)
    mapped_data = load_data(scenario.data)
    monkeypatch.setattr(mapped, "SMALLEST", 2**62)
    here = load_data(scenario.data)
    assert mapped_data.train.is_mapped > here.train.is_mapped
    assert mapped_data.test.is_mapped > here.test.is_mapped
    assert fingerprint(here) == fingerprint(mapped_data)
    assert (here.train.inputs == mapped_data.train.inputs[:]).all()
    simulate(scenario, out=tmp_path / "here", progress=False)
    assert result(tmp_path / "here") == result(there.folder)


def test_moments_are_those_of_numpy(pair: list[dict[str, Any]]) -> None:
    data = load_data(of_pair(pair, unseen_domains=["d1"]).data)
    everything = np.load(pair[0]["x_train"]).astype(np.float64)
    np.testing.assert_allclose(data.moments.mean, everything.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(data.moments.std, everything.std(0), rtol=1e-12)
    packed = pickle.dumps(data)
    Path(pair[0]["x_train"]).unlink()  # actors need not read it all again
    assert (pickle.loads(packed).moments.mean == data.moments.mean).all()
    series = np.random.default_rng(0).normal(3, 2, (500, 2, 9))
    series[:, 1] = 7.1
    mean, std = moments(series, np.arange(100, 500))
    np.testing.assert_allclose(mean, series[100:].mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, [series[100:, 0].std(), 1.0], rtol=1e-12)


class Kept(Source):
    """Two domains that are kept between runs."""

    cached: ClassVar[bool] = True

    def load(self, context: LoadContext) -> Sequence[Domain]:
        ids = np.arange(200 * 64).reshape(200, 64)
        labels = np.arange(200) % 2
        return [
            Domain(f"d{i}", ids + i, labels, ids[:20], labels[:20], ("a", "b")) for i in range(2)
        ]


def test_domains_of_the_cache_stay_there_from_the_first_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(mapped, "SMALLEST", 2**16)
    spec = DataSpec.model_validate({"sources": [f"{__name__}:Kept"], "normalisation": "none"})
    for _ in range(2):
        data = load_data(spec)
        assert (data.train.is_mapped, data.test.is_mapped) == (True, False)
        assert data.train.inputs[[0, 200]].tolist() == [list(range(64)), list(range(1, 65))]
        assert data.ids is not None
        assert data.ids.vocabulary == 200 * 64 + 1


def test_a_pool_is_read_like_an_array(tmp_path: Path) -> None:
    arrays = [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.asfortranarray(np.arange(15).reshape(5, 3) + 0.1),
        np.arange(6).reshape(2, 3),
    ]
    for index, array in enumerate(arrays[:2]):
        np.save(tmp_path / f"{index}.npy", array)
    files = [np.load(tmp_path / f"{index}.npy", mmap_mode="r") for index in range(2)]
    kept = np.array([4, 0, 2])
    found = [file_of(file) for file in files]
    assert all(found)
    pool = MappedPool([Part(found[0]), Part(found[1], kept), Part(arrays[2])])  # type: ignore[arg-type]
    pool = pickle.loads(pickle.dumps(pool))
    whole = np.concatenate([arrays[0], arrays[1][kept], arrays[2]])
    assert (pool.shape, pool.dtype, pool.ndim, len(pool)) == ((9, 3), whole.dtype, 2, 9)
    assert pool.nbytes == whole.nbytes
    everything = [0, -1, 5, np.int64(4), slice(None), slice(7, 1, -2), [8, 0, 5, 5], [-9, 3]]
    everything += [np.arange(9) % 4 == 1, np.array([[1, 2], [6, 7]]), np.zeros(0, np.int64)]
    for index in everything:
        expected = whole[index]
        assert pool[index].dtype == expected.dtype
        assert np.array_equal(pool[index], expected)
    for wrong in (9, -10, [0, 9], np.ones(8, bool)):
        with pytest.raises(IndexError):
            pool[wrong]


def test_only_read_only_arrays_are_left_in_their_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(12).reshape(4, 3))
    copied = np.load(tmp_path / "a.npy", mmap_mode="c")
    copied[0] = 7
    assert file_of(copied) is None
    assert file_of(np.load(tmp_path / "a.npy", mmap_mode="r")[1:]) is None
    raw = np.memmap(tmp_path / "a.npy", np.int64, "r", offset=128, shape=(2, 6))
    found = file_of(raw)
    assert found is not None
    assert found.opened().tolist() == raw.tolist()


# ---------------------------------------------------------------------- reading ahead


def test_the_next_are_read_while_one_trains_and_their_errors_are_raised() -> None:
    read: list[tuple[int, str]] = []

    def reading(client: int) -> np.ndarray:
        read.append((client, threading.current_thread().name))
        if client == 3:
            raise OSError("no such disk")
        return np.full(2, client)

    ahead = ReadAhead(reading, lambda client: AHEAD_BYTES // 2)
    ahead.expect([1, 2, 3, 4])
    assert ahead.take(1).tolist() == [1, 1]
    wait_until(lambda: len(read) >= 3, PATIENCE)  # while client 1 trains
    assert [client for client, _ in read] == [1, 2, 3]  # two at a time, and no more
    assert all(name.startswith("fedlab-read-ahead") for _, name in read)
    assert ahead.take(2).tolist() == [2, 2]
    with pytest.raises(OSError, match="no such disk"):
        ahead.take(3)
    ahead.expect([9])  # 4 is no longer wanted, and is read when it is
    assert ahead.take(4).tolist() == [4, 4]
    assert read[-1] == (4, threading.current_thread().name)


def test_a_client_larger_than_what_is_read_ahead_is_read_ahead_alone() -> None:
    read: list[int] = []

    def reading(client: int) -> np.ndarray:
        read.append(client)
        return np.full(2, client)

    ahead = ReadAhead(reading, lambda client: 2 * AHEAD_BYTES)
    ahead.expect([1, 2, 3])
    wait_until(lambda: read, PATIENCE)
    wait_until(lambda: len(read) > 1, 0.1)
    assert read == [1]
    ahead.take(1)
    wait_until(lambda: len(read) > 1, PATIENCE)
    wait_until(lambda: len(read) > 2, 0.1)
    assert read == [1, 2]


@pytest.mark.slow_except("vmap")
@pytest.mark.parametrize("execution", ["sequential", "vmap"])
def test_only_mapped_samples_are_read_ahead(
    pair: list[dict[str, Any]],
    execution: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: list[str] = []
    read = MappedPool.__getitem__

    def reading(pool: MappedPool, index: Any) -> np.ndarray:
        names.append(threading.current_thread().name)
        return read(pool, index)

    monkeypatch.setattr(MappedPool, "__getitem__", reading)
    scenario = of_pair(pair).model_copy(update={"engine": EngineSpec(execution=execution)})
    simulate(scenario, out=tmp_path / "there", progress=False)
    ahead = [name for name in names if name.startswith("fedlab-read-ahead")]
    assert len(ahead) == 4  # each client once: these few stay in memory
    names.clear()
    monkeypatch.setattr(mapped, "SMALLEST", 2**62)
    simulate(scenario, out=tmp_path / "here", progress=False)
    assert not names


def test_what_is_kept_of_samples_is_bounded() -> None:
    made: list[int] = []

    class Sized(NamedTuple):
        nbytes: int

    def of_size(nbytes: int) -> LastUsed[Sized]:
        def make(client: int) -> Sized:
            made.append(client)
            return Sized(nbytes)

        return LastUsed(make)

    kept = of_size(KEPT_BYTES // 3)
    for client in (1, 2, 1, 3, 1, 2):
        kept(client)
    assert made == [1, 2, 3, 2]
    assert [client in kept for client in (1, 2, 3)] == [True, True, False]
    whole = of_size(2 * KEPT_BYTES)
    assert whole(7) is whole(7)
    whole(8)
    assert [7 in whole, 8 in whole] == [False, True]
    assert made[4:] == [7, 8]


def changing(pair: list[dict[str, Any]], out: Path, backend: str) -> None:
    """A run whose file is another one after the first round."""
    scenario = of_pair(pair)
    resources = scenario.resources.model_copy(update={"backend": backend, "actors": 1})
    file = Path(pair[1]["x_train"])
    with pytest.raises(LostDataError, match=r"x\.npy' has changed under the run") as raised:
        simulate(
            scenario.model_copy(update={"resources": resources}),
            out=out,
            progress=False,
            callbacks=[At(1, lambda: os.utime(file, ns=(0, 0)))],
        )
    assert "\n" not in str(raised.value)


def test_a_run_whose_file_changes_ends_with_one_line(
    pair: list[dict[str, Any]], tmp_path: Path
) -> None:
    changing(pair, tmp_path / "run", "local")


@pytest.mark.slow
def test_actors_end_a_run_with_that_line_too(
    pair: list[dict[str, Any]], tmp_path: Path, ray_here: None
) -> None:
    changing(pair, tmp_path / "run", "ray")


# ---------------------------------------------------------------------- runs


def test_mapped_samples_train_to_the_same_bytes(folder: Path) -> None:
    histories = []
    for name, source in (("npy", FILES), ("npz", ARCHIVE)):
        file = folder / f"{name}.yaml"
        words = ", ".join(f"{key}: {value}" for key, value in source.items())
        file.write_text(SCENARIO.format(root=folder, source="{" + words + "}"))
        run = fedlab.simulate(file, out=folder / name, progress=False)
        histories.append((run.folder / "history.csv").read_bytes())
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_ray_maps_the_files_itself(folder: Path, ray_here: None) -> None:
    file = folder / "npy.yaml"
    words = ", ".join(f"{key}: {value}" for key, value in FILES.items())
    file.write_text(SCENARIO.format(root=folder, source="{" + words + "}"))
    one, other = (
        fedlab.simulate(
            file, [f"resources.backend={backend}"], out=folder / backend, progress=False
        )
        for backend in ("local", "ray")
    )
    assert (one.folder / "history.csv").read_bytes() == (other.folder / "history.csv").read_bytes()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"x_train": "none.npy"}, r"x_train: '.*none.npy' does not exist"),
        ({"x_train": "a.npz"}, "x_train"),
        ({"y_train": "ty.npy"}, "20 labels and x_train 60 samples"),
        ({"owner_test": "o.npy"}, r"owner_test has the shape \(60,\)"),
        ({"owner_test": None}, "go together"),
    ],
)
def test_files_that_do_not_fit_are_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, ValueError), match=said):
        load(folder, **more)


@pytest.mark.parametrize("target", ["multi_label", "regression"])
def test_labels_may_be_sets_or_numbers(target: str, folder: Path) -> None:
    labels = np.arange(160).reshape(80, 2) % 3 % 2 / (1 if target == "multi_label" else 3)
    for name, rows in (("y", slice(60)), ("ty", slice(60, 80))):
        np.save(folder / f"{name}.npy", labels[rows])
    data = load(folder, class_names=["up", "down"], target=target)
    assert data.train.is_mapped
    assert data.class_names == ("up", "down")
    assert (data.train.labels == labels[:60]).all()


@pytest.mark.parametrize(
    ("dtype", "ids"),
    [(np.int32, {}), (np.int64, {"length": 30}), (np.int64, {"length": 70, "pad": 0})],
)
def test_large_files_of_ids_are_as_they_are_read(dtype: Any, ids: Any, folder: Path) -> None:
    numbers = np.arange(60 * 64).reshape(60, 64)
    np.save(folder / "x.npy", numbers.astype(dtype))
    np.save(folder / "tx.npy", numbers[:20].astype(dtype))
    with pytest.raises(InputError, match=r"data\.sources\.0: a large file has ids of type int"):
        load(folder, inputs="ids", ids=ids)
    np.save(folder / "x.npy", numbers)
    np.save(folder / "tx.npy", numbers[:20])
    assert load(folder, inputs="ids").train.is_mapped
