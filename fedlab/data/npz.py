"""Images or features out of ``.npz`` files, one domain a file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from fedlab import rng
from fedlab.data.image_source import ImageSource
from fedlab.data.images import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

Arrays = dict[str, np.ndarray]


class Npz(ImageSource):
    """Arrays saved with ``numpy.savez``; a file is a domain.

    Images are uint8 of shape (n, height, width), (n, height, width, channels) or (n, channels,
    height, width) with 1 or 3 channels; arrays of shape (n, features) are features. Labels are
    integers from 0.

    Attributes:
        path: The file, where it is one; its domain is called `domain`, or else as the file.
        files: Several files by the name of their domain, instead of `path`.
        x_train: Key of the training inputs in the file.
        y_train: Key of the training labels.
        x_test: Key of the test inputs.
        y_test: Key of the test labels.
        test_share: Share of the samples that become the test split, stratified by class, where
            the file has no test arrays.
        class_names: Names of the classes; by default their numbers.
    """

    name: Literal["npz"] = "npz"
    path: Path | None = None
    files: dict[str, Path] = Field(default={})
    x_train: str = "x_train"
    y_train: str = "y_train"
    x_test: str = "x_test"
    y_test: str = "y_test"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _path_or_files(self) -> Npz:
        if (self.path is None) == (not self.files):
            raise ValueError("needs either path (one file) or files (a file for each domain)")
        if self.files and self.domain:
            raise ValueError("domain goes with path only; the keys of files name the domains")
        return self

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files.

        Raises:
            InputError: If a file is missing, damaged or lacks an array, or an array is not of the
                kind that the class describes.
        """
        if self.path is not None:
            files = {self.domain or self.path.stem: (f"{context.key}.path", self.path)}
        else:
            files = {
                domain: (f"{context.key}.files.{domain}", path)
                for domain, path in self.files.items()
            }
        read = {
            domain: self._read(key, context.locate(path), context)
            for domain, (key, path) in files.items()
        }
        class_names = self._class_names(read, context)
        return [self._domain(name, arrays, class_names, context) for name, arrays in read.items()]

    def _read(self, key: str, path: Path, context: LoadContext) -> Arrays:
        """The arrays of one file, by the names of `Domain`'s fields."""
        fields = {
            "train_inputs": self.x_train,
            "train_labels": self.y_train,
            "test_inputs": self.x_test,
            "test_labels": self.y_test,
        }
        try:
            if path.is_file() and not zipfile.is_zipfile(path):
                raise zipfile.BadZipFile("damaged, or of another format")
            with np.load(path, allow_pickle=False) as saved:
                if self.x_test not in saved and self.y_test not in saved:
                    del fields["test_inputs"], fields["test_labels"]
                for field, name in fields.items():
                    if name not in saved:
                        raise InputError(
                            f"{key}: '{path}' has no array '{name}', only {', '.join(saved)}; "
                            f"set {context.key}.{_parameter(field)} to the array that holds them"
                        )
                arrays = {field: saved[name] for field, name in fields.items()}
        except FileNotFoundError as error:
            raise InputError(
                f"{key}: there is no file '{path}'; correct the path, or data.root if the path is "
                "relative"
            ) from error
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{key}: '{path}' cannot be read as a .npz file ({error}); save it anew with "
                "numpy.savez"
            ) from error
        for field, array in arrays.items():
            where = f"{key}: array '{fields[field]}' of '{path}'"
            arrays[field] = (
                _labels(array, where)
                if field.endswith("labels")
                else _inputs(array, where, context)
            )
        for split in ("train", "test"):
            _paired(arrays, split, fields, f"{key}: '{path}'")
        return arrays

    def _class_names(self, read: dict[str, Arrays], context: LoadContext) -> tuple[str, ...]:
        """The names given, or else the numbers up to the largest label of all files."""
        if self.class_names is not None:
            return self.class_names
        largest = max(
            int(arrays[field].max(initial=0))
            for arrays in read.values()
            for field in arrays
            if field.endswith("labels")
        )
        return tuple(map(str, range(largest + 1)))

    def _domain(
        self, name: str, arrays: Arrays, class_names: tuple[str, ...], context: LoadContext
    ) -> Domain:
        if "test_labels" in arrays:
            return Domain(
                name,
                arrays["train_inputs"],
                arrays["train_labels"],
                arrays["test_inputs"],
                arrays["test_labels"],
                class_names,
            )
        return split_domain(
            name,
            arrays["train_inputs"],
            arrays["train_labels"],
            class_names,
            self.test_share,
            rng.generator(context.seed, "split", name),
        )


def _parameter(field: str) -> str:
    split, _, kind = field.partition("_")
    return f"{'x' if kind == 'inputs' else 'y'}_{split}"


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where} has the shape {labels.shape} and type {labels.dtype}; labels must be "
            "integers of shape (n,)"
        )
    if labels.min(initial=0) < 0:
        raise InputError(f"{where} has the label {labels.min()}; number the classes from 0")
    return labels.astype(np.int64)


def _paired(arrays: Arrays, split: str, fields: dict[str, str], where: str) -> None:
    """Refuses a split in which some sample has no label, or some label no sample."""
    inputs, labels = f"{split}_inputs", f"{split}_labels"
    if labels in arrays and len(arrays[inputs]) != len(arrays[labels]):
        raise InputError(
            f"{where} has {len(arrays[inputs])} samples in '{fields[inputs]}' but "
            f"{len(arrays[labels])} labels in '{fields[labels]}'; save one label for each sample"
        )


def _inputs(inputs: np.ndarray, where: str, context: LoadContext) -> np.ndarray:
    """Features as float32, or images brought to the scenario's shape."""
    if inputs.ndim == 2 and inputs.dtype.kind in "biuf":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            return inputs.astype(np.float32)
    if inputs.dtype == np.uint8 and inputs.ndim == 3:
        return conform(inputs[:, None], context.channels, context.image_size)
    if inputs.dtype == np.uint8 and inputs.ndim == 4:
        if inputs.shape[3] in (1, 3):
            inputs = inputs.transpose(0, 3, 1, 2)
        if inputs.shape[1] in (1, 3):
            return conform(inputs, context.channels, context.image_size)
    raise InputError(
        f"{where} has the shape {inputs.shape} and type {inputs.dtype}; images must be uint8 in "
        "0 to 255 with 1 or 3 channels, features numbers of shape (n, features)"
    )
