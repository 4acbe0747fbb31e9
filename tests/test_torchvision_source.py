"""Torchvision's data sets, written small in their own file formats."""

import bz2
import gzip
import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from fedlab.errors import InputError
from helpers.loading import load, numbers


def idx(array: np.ndarray) -> bytes:
    """The file format of MNIST."""
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_mnist(raw: Path, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    raw.mkdir(parents=True)
    images, labels = numbers(30, 28, 28)
    for stem, count in (("train", 30), ("t10k", 10)):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array[:count])
            name = f"{stem}-{kind}-ubyte"
            if packed:
                (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (raw / name).write_bytes(content)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST"])
def test_mnist_is_read_packed_or_not(tmp_path, dataset, packed):
    images, labels = write_mnist(tmp_path / dataset / "raw", packed)
    data = load(tmp_path, {"name": "torchvision", "dataset": dataset}, image_size=28)
    assert data.domain_names == (dataset.lower(),)
    assert data.class_names[0] == ("0" if dataset == "MNIST" else "T-shirt/top")
    assert (data.train.inputs == images[:, None]).all()
    assert data.train.labels.tolist() == labels.tolist()
    assert len(data.test) == 10


def signed(monkeypatch, owner: type, table: str, content: bytes) -> None:
    """Makes torchvision accept `content` as each file of a table of (..., name, md5)."""
    digest = hashlib.md5(content).hexdigest()
    listed = getattr(owner, table)
    if isinstance(listed, dict) and "md5" in listed:
        monkeypatch.setattr(owner, table, {**listed, "md5": digest})
    elif isinstance(listed, dict):
        monkeypatch.setattr(owner, table, {key: [*row[:2], digest] for key, row in listed.items()})
    else:
        monkeypatch.setattr(owner, table, [[name, digest] for name, _ in listed])


@pytest.mark.parametrize("dataset", ["CIFAR10", "CIFAR100"])
def test_cifar_is_read(tmp_path, monkeypatch, dataset):
    owner = getattr(datasets, dataset)
    images, labels = numbers(6, 3, 32, 32)
    key = "labels" if dataset == "CIFAR10" else "fine_labels"
    batch = pickle.dumps({"data": images.reshape(6, -1), key: labels.tolist()})
    names = pickle.dumps({owner.meta["key"]: ["cat", "dog", "bird"]})
    (tmp_path / owner.base_folder).mkdir()
    for name, _ in owner.train_list + owner.test_list:
        (tmp_path / owner.base_folder / name).write_bytes(batch)
    (tmp_path / owner.base_folder / owner.meta["filename"]).write_bytes(names)
    signed(monkeypatch, owner, "train_list", batch)
    signed(monkeypatch, owner, "test_list", batch)
    signed(monkeypatch, owner, "meta", names)
    data = load(tmp_path, {"name": "torchvision", "dataset": dataset}, image_size=32)
    assert data.class_names == ("cat", "dog", "bird")
    assert (data.test.inputs == images).all()
    assert data.test.labels.tolist() == labels.tolist()


def test_svhn_is_read(tmp_path, monkeypatch):
    images, labels = numbers(6, 3, 32, 32)
    file = io.BytesIO()
    marked = np.where(labels == 0, 10, labels)[:, None]  # SVHN calls the digit 0 ten
    scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": marked})
    for name in ("train", "test"):
        (tmp_path / f"{name}_32x32.mat").write_bytes(file.getvalue())
    signed(monkeypatch, datasets.SVHN, "split_list", file.getvalue())
    data = load(tmp_path, {"name": "torchvision", "dataset": "SVHN"}, image_size=32)
    assert (data.train.inputs == images).all()
    assert data.train.labels.tolist() == labels.tolist()
    assert data.class_names == tuple("0123456789")


def test_usps_is_read_from_a_root_of_its_own(tmp_path):
    lines = "".join(
        f"{label + 1} " + " ".join(f"{place + 1}:{value}" for place in range(256)) + "\n"
        for label, value in ((0, -1), (9, 1))
    )
    (tmp_path / "own").mkdir()
    for name in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / "own" / name).write_bytes(bz2.compress(lines.encode()))
    source = {"name": "torchvision", "dataset": "USPS", "root": "own", "domain": "post"}
    data = load(tmp_path, source)
    assert data.domain_names == ("post",)
    assert data.train.labels.tolist() == [0, 9]
    assert [image.mean() for image in data.train.inputs] == [0, 255]


@pytest.mark.parametrize(
    "dataset", ["MNIST", "FashionMNIST", "USPS", "SVHN", "CIFAR10", "CIFAR100"]
)
def test_missing_data_sets_are_not_fetched_unasked(tmp_path, dataset):
    with pytest.raises(InputError, match=rf"{dataset} is missing .*{tmp_path}.*data.download=true"):
        load(tmp_path, {"name": "torchvision", "dataset": dataset})
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_cannot_be_fetched_is_refused(tmp_path, monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.SVHN, "download", offline)
    with pytest.raises(InputError, match=r"neither read nor fetched \(no route to host\)"):
        load(tmp_path, {"name": "torchvision", "dataset": "SVHN"}, download=True)
