"""Data sets that torchvision reads and downloads."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torchvision import datasets

from fedlab.data.image_source import ImageSource
from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

Name = Literal["MNIST", "FashionMNIST", "USPS", "SVHN", "CIFAR10", "CIFAR100"]

# What torchvision looks for below the root.
EXPECTED: dict[str, str] = {
    "MNIST": "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",
    "FashionMNIST": "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",
    "USPS": "{usps,usps.t}.bz2",
    "SVHN": "{train,test}_32x32.mat",
    "CIFAR10": "cifar-10-batches-py/{data_batch_1,...,data_batch_5,test_batch,batches.meta}",
    "CIFAR100": "cifar-100-python/{train,test,meta}",
}
DIGITS = tuple("0123456789")
NAMED = ("FashionMNIST", "CIFAR10", "CIFAR100")  # the others are digits


class Torchvision(ImageSource):
    """A data set of torchvision, with its own training and test split.

    MNIST and FashionMNIST are also read from the ``.gz`` files as they are distributed.

    Attributes:
        dataset: The data set; its domain is called the same, in lower case.
        root: Folder given to torchvision; the scenario's ``data.root`` by default.
    """

    name: Literal["torchvision"] = "torchvision"
    dataset: Name
    root: Path = Path()

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`; only checks that the folder exists."""
        root = context.locate(self.root)
        if not root.is_dir() and not context.download:
            raise InputError(self._advice(root, context, FileNotFoundError("no such folder")))
        return self._made_names([self.domain or self.dataset.lower()])

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads the data set, and first downloads it if it is missing and that is allowed.

        Raises:
            InputError: If it is missing, damaged or cannot be fetched.
        """
        train_inputs, train_labels, class_names = self._split("train", context)
        test_inputs, test_labels, _ = self._split("test", context)
        name = self.domain or self.dataset.lower()
        return [Domain(name, train_inputs, train_labels, test_inputs, test_labels, class_names)]

    def _split(
        self, split: str, context: LoadContext
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Images (n, channels, size, size) uint8, labels (n,) int64 and the class names."""
        root = context.locate(self.root)
        class_names = DIGITS
        try:
            packed = _packed(root / self.dataset / "raw", split)
            if packed is not None:
                images, labels = packed
                if self.dataset == "FashionMNIST":
                    class_names = tuple(datasets.FashionMNIST.classes)
            else:
                dataset = self._open(root, split, context.download)
                images = np.asarray(dataset.data)
                labels = np.asarray(dataset.labels if self.dataset == "SVHN" else dataset.targets)
                if self.dataset in NAMED:
                    class_names = tuple(dataset.classes)
        except (RuntimeError, OSError, EOFError, ValueError, TypeError, AssertionError) as error:
            raise InputError(self._advice(root, context, error)) from error
        except ImportError as error:
            raise InputError(
                f"{context.key}: {self.dataset} cannot be read without the package "
                f"'{error.name}'; install fedlab-sim[sim]"
            ) from error
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:  # CIFAR; SVHN has its channels first
            images = images.transpose(0, 3, 1, 2)
        shape = (len(images), context.channels, context.image_size, context.image_size)
        context.limits.check_array(shape, 1, f"{context.key}: the {split} images")
        images = conform(images, context.channels, context.image_size)
        return images, labels.astype(np.int64), class_names

    def _open(self, root: Path, split: str, download: bool) -> Any:
        """Torchvision's own data set object."""
        if self.dataset == "SVHN":
            return datasets.SVHN(root, split=split, download=download)
        return getattr(datasets, self.dataset)(root, train=split == "train", download=download)

    def _advice(self, root: Path, context: LoadContext, error: Exception) -> str:
        reason = str(error).partition(" You can use download=True")[0].rstrip(".")
        place = f"'{root}/{EXPECTED[self.dataset]}'"
        if context.download:
            return (
                f"{context.key}: {self.dataset} can be neither read nor fetched ({reason}); check "
                f"the network and that '{root}' can be written, or put the files at {place}"
            )
        return (
            f"{context.key}: {self.dataset} is missing or damaged ({reason}); put its files at "
            f"{place} (data.root is '{context.root}') or set data.download=true"
        )


def _packed(raw: Path, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels of MNIST's format from ``.gz`` files that are still packed.

    Torchvision reads unpacked files only; a folder that cannot be written keeps the packed ones.
    """
    stem = "train" if split == "train" else "t10k"
    paths = [raw / f"{stem}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    packed = [path.with_name(f"{path.name}.gz") for path in paths]
    if all(path.exists() for path in paths) or not all(path.exists() for path in packed):
        return None
    images, labels = (gzip.decompress(path.read_bytes()) for path in packed)
    height, width = np.frombuffer(images, ">u4", count=2, offset=8)
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, int(height), int(width)),
        np.frombuffer(labels, np.uint8, offset=8),
    )
