"""Images or features out of ``.npz`` files, one domain a file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fedlab import rng
from fedlab.data.array_labels import Labels, classes, texts
from fedlab.data.array_targets import columns, numbers
from fedlab.data.image_source import ImageSource
from fedlab.data.named_files import Files, left_out, named
from fedlab.data.npz_reader import Archive
from fedlab.data.remarks import counted, listed
from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stored_numbers import stored
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY


class Npz(ImageSource):
    """Arrays saved with ``numpy.savez``; a file is a domain.

    Images are uint8 of shape (n, height, width), (n, height, width, channels) or (n, channels,
    height, width) with 1 or 3 channels. Numbers of shape (n, features) are features; whole ones
    stay whole (``data.normalisation``). Labels are whole numbers, text, booleans, or one column for
    each class with a single 1 in a row; the classes are those that occur. With another
    ``data.target`` they are numbers of shape (n, labels), 0 or 1, or (n, targets), or (n,).

    Attributes:
        path: The file, where it is one; its domain is called `domain`, or else as the file.
        files: Several files by the name of their domain, instead of `path`; or a folder of them, or
            a pattern such as ``sites/*.npz``, whose files are domains called as they are.
        x_train: Key of the training inputs in the file.
        y_train: Key of the training labels.
        x_test: Key of the test inputs.
        y_test: Key of the test labels.
        test_share: Share of the samples that become the test split, stratified by class, where
            the file has no test arrays.
        class_names: Names of the classes: where labels are numbers below their number, the name of
            each number, and else those of the sorted labels; by default the labels themselves.
            Of another target the names of the columns, by default ``label 0`` or ``target 0`` on.
        series: Whether inputs are series: floats of shape (n, channels, length).
    """

    name: Literal["npz"] = "npz"
    targets: ClassVar[frozenset[str]] = EVERY
    path: Path | None = None
    files: Files = Field(default={})
    x_train: str = "x_train"
    y_train: str = "y_train"
    x_test: str = "x_test"
    y_test: str = "y_test"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    series: bool = False

    @model_validator(mode="after")
    def _path_or_files(self) -> Npz:
        if (self.path is None) == (not self.files):
            raise ValueError("needs either path (one file) or files (a file for each domain)")
        if self.files and self.domain:
            raise ValueError("domain goes with path only; the keys of files name the domains")
        return self

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        files = self._files(context)
        for key, path in files.values():
            context.limits.check_file(path, f"{key}: '{path}'")
        return self._made_names(list(files))

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """Files of a folder that are no archives."""
        return left_out(self.files, ".npz", context)

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files.

        Raises:
            InputError: If a file is missing, damaged or lacks an array, or an array is not of the
                kind that the class describes.
        """
        read = {
            domain: self._read(key, path, context)
            for domain, (key, path) in self._files(context).items()
        }
        labels = [own for arrays in read.values() for own in arrays.labels.values()]
        numbering, class_names, remarks = self._numbering(labels, context)
        remarks = [*remarks, *_left_out(read, context.key)]
        inputs = _together([own for arrays in read.values() for own in arrays.inputs.values()])
        domains = []
        for name, arrays in read.items():
            splits = {
                split: (inputs.pop(0), numbering(own)) for split, own in arrays.labels.items()
            }
            domains.append(self._domain(name, splits, class_names, context))
        return [domains[0].with_remarks(remarks), *domains[1:]]

    def _numbering(
        self, labels: list[Any], context: LoadContext
    ) -> tuple[Callable[[Any], np.ndarray], tuple[str, ...], list[str]]:
        """What makes labels of what was read, the names of classes or columns, and remarks."""
        if context.target.kind == CLASS:
            return classes(labels, self.class_names, context.key)
        return columns(labels, self.class_names, context)

    def _files(self, context: LoadContext) -> dict[str, tuple[str, Path]]:
        """For each domain its file and the key that names it."""
        if self.path is not None:
            name = self.domain or self.path.stem
            return {name: (f"{context.key}.path", context.locate(self.path))}
        return {
            domain: (f"{context.key}.files.{domain}", path)
            for domain, path in named(self.files, ".npz", context).items()
        }

    def _read(self, key: str, path: Path, context: LoadContext) -> _Arrays:
        """The arrays of one file."""
        fields: dict[str, str] = {
            "train_inputs": self.x_train,
            "train_labels": self.y_train,
            "test_inputs": self.x_test,
            "test_labels": self.y_test,
        }
        with Archive(path, key, context.limits) as saved:
            if self.x_test not in saved.names and self.y_test not in saved.names:
                del fields["test_inputs"], fields["test_labels"]
            for field, name in fields.items():
                if name not in saved.names:
                    raise InputError(
                        f"{key}: '{path}' has no array '{name}', only "
                        f"{', '.join(saved.names[:20])}; "
                        f"set {context.key}.{_parameter(field)} to the array that holds them"
                    )
            unread = [name for name in saved.names if name not in fields.values()]
            self._refuse_misspelt(unread, saved.names, f"{key}: '{path}'", context)
            arrays = _Arrays({}, {}, unread)
            for field, name in fields.items():
                where = f"{key}: array '{name}' of '{path}'"
                split, _, kind = field.partition("_")
                if kind == "labels":
                    read = texts if context.target.kind == CLASS else numbers
                    arrays.labels[split] = read(saved[name], where)
                else:
                    arrays.inputs[split] = self._inputs(saved[name], where, context)
        for split, labels in arrays.labels.items():
            if len(arrays.inputs[split]) != len(labels):
                raise InputError(
                    f"{key}: '{path}' has {len(arrays.inputs[split])} samples in "
                    f"'{fields[f'{split}_inputs']}' but {len(labels)} labels in "
                    f"'{fields[f'{split}_labels']}'; save one label for each sample"
                )
        return arrays

    def _refuse_misspelt(
        self, unread: Sequence[str], names: Sequence[str], where: str, context: LoadContext
    ) -> None:
        """Refuses test arrays by nearly the name of those that are looked for and not there."""
        for parameter in ("x_test", "y_test"):
            wanted: str = getattr(self, parameter)
            for name in () if wanted in names else unread:
                if _alike(name, wanted):
                    raise InputError(
                        f"{where} has an array '{name}', and test samples are looked for in "
                        f"'{wanted}'; set {context.key}.{parameter}={name} if they are meant, or "
                        "rename it"
                    )

    def _inputs(self, inputs: np.ndarray, where: str, context: LoadContext) -> np.ndarray:
        """Numbers as int64 or floats, or images brought to the scenario's shape."""
        if inputs.ndim == 2 and inputs.dtype.kind in "iu":
            if inputs.dtype == np.uint64 and inputs.max(initial=0) > np.iinfo(np.int64).max:
                raise InputError(f"{where} has numbers beyond those of int64; save them as float64")
            return inputs.astype(np.int64)
        if inputs.dtype.kind == "f" and inputs.ndim == 2 + self.series:
            return inputs.astype(
                np.float64 if inputs.dtype.itemsize > 4 else np.float32, copy=False
            )
        if inputs.dtype.kind == "b" and inputs.ndim == 2:
            return inputs.astype(np.float32)
        if inputs.dtype == np.uint8 and inputs.ndim == 3:
            inputs = inputs[:, None]
        elif inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[3] in (1, 3):
            inputs = inputs.transpose(0, 3, 1, 2)
        if inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[1] in (1, 3):
            shape = (len(inputs), context.channels, context.image_size, context.image_size)
            context.limits.check_array(shape, 1, where)
            return conform(inputs, context.channels, context.image_size)
        raise InputError(
            f"{where} has the shape {inputs.shape} and type {inputs.dtype}; images must be uint8 "
            "in 0 to 255 with 1 or 3 channels, features numbers of shape (n, features); floats of "
            "shape (n, channels, length) are read with the source's series: true"
        )

    def _domain(
        self,
        name: str,
        splits: dict[str, tuple[np.ndarray, np.ndarray]],
        class_names: tuple[str, ...],
        context: LoadContext,
    ) -> Domain:
        if "test" in splits:
            return Domain(name, *splits["train"], *splits["test"], class_names)
        dealing = rng.generator(context.seed, "split", name)
        return split_domain(
            name, *splits["train"], class_names, self.test_share, dealing, context.target
        )


@dataclass(frozen=True)
class _Arrays:
    """What one file holds, by split, and the names of what is not read."""

    inputs: dict[str, np.ndarray]
    labels: dict[str, Labels | np.ndarray]
    unread: Sequence[str] = ()


def _left_out(read: Mapping[str, _Arrays], key: str) -> list[str]:
    """A remark on arrays that no key of the source names."""
    names = [name for arrays in read.values() for name in arrays.unread]
    if not names:
        return []
    what = counted({f"array{{s}} ({listed(names)})": len(names)})
    return [f"{key}: left out {what}, which no key of the source names"]


def _alike(name: str, wanted: str) -> bool:
    """Whether a name is another spelling of one: ``X_test``, ``xtest``, ``test_x``, ``x_tst``."""
    one, other = (re.findall(r"[a-z]+|[0-9]+", each.casefold()) for each in (name, wanted))
    same = sorted(one) == sorted(other) or "".join(one) == "".join(other)
    return same or difflib.SequenceMatcher(None, name.casefold(), wanted.casefold()).ratio() > 0.8


def _parameter(field: str) -> str:
    split, _, kind = field.partition("_")
    return f"{'x' if kind == 'inputs' else 'y'}_{split}"


def _together(inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Numbers of all files in the one type that they need; images as they are."""
    kinds = {each.dtype.name for each in inputs}
    alike = len({each.shape[1:] for each in inputs}) == 1
    if alike and "uint8" not in kinds and ("float64" in kinds or len(kinds) > 1):
        return stored([each.astype(np.float64) for each in inputs])
    return inputs
