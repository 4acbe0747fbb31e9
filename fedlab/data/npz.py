"""Images or features from ``.npz`` files, one domain a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fedlab import rng
from fedlab.data.array_labels import Labels, classes
from fedlab.data.array_names import alike
from fedlab.data.array_targets import columns, reader
from fedlab.data.class_names import normal
from fedlab.data.given_split import refuse_idle_share
from fedlab.data.image_source import ImageSource
from fedlab.data.named_files import Files, FilesAre, check_files_are, left_out, named, one_name
from fedlab.data.npz_inputs import in_one_type, inputs_of
from fedlab.data.npz_reader import Archive
from fedlab.data.owned_arrays import Splits, concatenated, together
from fedlab.data.owners import OwnerSplit, numbered, owned, refuse_constant, refuse_spanning
from fedlab.data.remarks import counted, listed
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY


class Npz(ImageSource):
    """Arrays saved with ``numpy.savez``; a file is a domain.

    Images are uint8 of shape (n, height, width), (n, height, width, channels) or (n, channels,
    height, width) with 1 or 3 channels. Numbers of shape (n, features) are features; whole ones
    stay whole (``data.normalisation``). With ``data.inputs: numbers``, arrays of any type and shape
    are numbers, channels first: series (n, channels, length), maps (n, channels, height, width),
    volumes (n, channels, depth, height, width). With ``data.inputs: ids``, whole numbers of shape
    (n, length), or an object array of sequences, are ids. Labels are whole numbers, text, booleans,
    or one column for each class with a single 1 in a row; the classes are those that occur. With
    another ``data.target`` they are numbers of shape (n, labels), 0 or 1, or (n, targets), or (n,).

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
        owner_train: Key of the array that says whose each training sample is (a writer, a
            patient): text or whole numbers of shape (n,).
        owner_test: Likewise of the test samples.
        split: With owners and without test arrays: ``within_owners`` splits each owner's samples,
            ``by_owner`` draws owners all of whose samples are tested.
        files_are: Whether each file is a domain, or the samples of one of the ``owners`` of a
            single domain, which is called `domain`, or else as their folder.
        series: Whether inputs are series, numbers of shape (n, channels, length): as
            ``data.inputs: numbers`` for this source alone.
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
    owner_train: str | None = None
    owner_test: str | None = None
    split: OwnerSplit = "within_owners"
    files_are: FilesAre = "domains"
    series: bool = False

    @model_validator(mode="after")
    def _path_or_files(self) -> Npz:
        if (self.path is None) == (not self.files):
            raise ValueError("needs either path (one file) or files (a file for each domain)")
        named_domain = None if self.path is not None else self.domain
        if self.files_are == "owners" and not self.files:
            raise ValueError("files_are: owners needs files, one for each owner")
        if self.x_test == self.x_train:
            raise ValueError("x_train and x_test name one array; test on other samples")
        if self.owner_test is not None and self.owner_train is None:
            raise ValueError("owner_test without owner_train; name both arrays")
        if self.files_are == "owners" or self.split == "by_owner":
            check_files_are(self.files_are, named_domain, self.owner_train, self.split)
        elif self.files and self.domain:
            raise ValueError("domain goes with path only; the keys of files name the domains")
        return self

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        files = self._files(context)
        for key, path in files.values():
            context.limits.check_file(path, f"{key}: '{path}'")
        names = list(files) if self.files_are == "domains" else [one_name(self.domain, self.files)]
        return self._made_names(names)

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """A remark on files of a folder that are not archives."""
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
        if all("test" in arrays.labels for arrays in read.values()):
            refuse_idle_share(self, "test arrays", context)
        labels = [own for arrays in read.values() for own in arrays.labels.values()]
        numbering, class_names, remarks = self._numbering(labels, context)
        remarks = [*remarks, *_left_out(read, context.key)]
        are_domains = self.files_are == "domains"
        kept = [name for name in read if are_domains and context.keeps(name)] or list(read)
        inputs = in_one_type([own for name in kept for own in read[name].inputs.values()])
        for name in kept:
            read[name].inputs.update({split: inputs.pop(0) for split in read[name].inputs})
        parts: dict[str, Splits] = {}
        for name, arrays in read.items():
            parts[name] = {
                split: (arrays.inputs[split], numbering(own), arrays.owners.get(split))
                for split, own in arrays.labels.items()
            }
        if self.files_are == "owners":
            parts = {one_name(self.domain, self.files): together(parts, f"{context.key}.files")}
        domains = [self._domain(name, own, class_names, context) for name, own in parts.items()]
        if self.owner_train is not None or self.files_are == "owners":
            named_by = "files" if self.owner_train is None else "owner_train"
            names = [each for domain in domains for each in domain.owner_names]
            refuse_constant(names, f"{context.key}.{named_by}", context)
        if self.split == "by_owner":
            refuse_spanning(domains, f"{context.key}.split: by_owner")
        return [domains[0].with_remarks(remarks), *domains[1:]]

    def _numbering(
        self, labels: list[Any], context: LoadContext
    ) -> tuple[Callable[[Any], np.ndarray], tuple[str, ...], list[str]]:
        """A function that encodes labels, the names of classes or columns, and remarks."""
        if context.target.kind == CLASS:
            return classes(labels, self.class_names, context.key)
        return columns(labels, self.class_names, context)

    def _files(self, context: LoadContext) -> dict[str, tuple[str, Path]]:
        """For each domain its file and the key that names it."""
        if self.path is not None:
            name = self.domain or normal(self.path.stem)
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
        if self.owner_train is not None:
            fields["train_owners"] = self.owner_train
        with Archive(path, key, context.limits) as saved:
            if self.x_test not in saved.names and self.y_test not in saved.names:
                del fields["test_inputs"], fields["test_labels"]
            elif self.owner_test is not None:
                fields["test_owners"] = self.owner_test
            elif self.owner_train is not None:
                raise InputError(
                    f"{key}: '{path}' has test arrays, and {context.key}.owner_test does not say "
                    "whose they are; set it to the array that holds their owners"
                )
            for kind, name in fields.items():
                if name not in saved.names:
                    raise InputError(
                        f"{key}: '{path}' has no array '{name}', only "
                        f"{', '.join(saved.names[:20])}; "
                        f"set {context.key}.{_parameter(kind)} to the array that holds them"
                    )
            unread = [name for name in saved.names if name not in fields.values()]
            self._refuse_misspelt(unread, saved.names, f"{key}: '{path}'", context)
            arrays = _Arrays({}, {}, unread)
            read_labels = reader(context, self.class_names)
            for each, name in fields.items():
                where = f"{key}: array '{name}' of '{path}'"
                split, _, kind = each.partition("_")
                if kind == "owners":
                    arrays.owners[split] = saved.text(name)
                elif kind == "labels":
                    arrays.labels[split] = read_labels(saved.text(name), where)
                else:
                    ragged = context.inputs == "ids"
                    array = saved.ragged(name) if ragged else saved[name]
                    arrays.inputs[split] = inputs_of(array, where, context, self.series)
        for split, labels in arrays.labels.items():
            if len(arrays.inputs[split]) != len(labels):
                raise InputError(
                    f"{key}: '{path}' has {len(arrays.inputs[split])} samples in "
                    f"'{fields[f'{split}_inputs']}' but {len(labels)} labels in "
                    f"'{fields[f'{split}_labels']}'; save one label for each sample"
                )
            owners = arrays.owners.get(split)
            if owners is not None and owners.shape[:1] != (len(labels),):
                raise InputError(
                    f"{key}: '{path}' has {len(labels)} labels in '{fields[f'{split}_labels']}' "
                    f"but owners of shape {owners.shape} in '{fields[f'{split}_owners']}'; save "
                    "one owner for each sample"
                )
        return arrays

    def _refuse_misspelt(
        self, unread: Sequence[str], names: Sequence[str], where: str, context: LoadContext
    ) -> None:
        """Refuses arrays whose names nearly match the missing arrays of the test split."""
        for parameter in ("x_test", "y_test"):
            wanted: str = getattr(self, parameter)
            for name in () if wanted in names else unread:
                if alike(name, wanted):
                    raise InputError(
                        f"{where} has an array '{name}', and test samples are looked for in "
                        f"'{wanted}'; set {context.key}.{parameter}={name} if they are meant, or "
                        "rename it"
                    )

    def _domain(
        self,
        name: str,
        splits: Splits,
        class_names: tuple[str, ...],
        context: LoadContext,
    ) -> Domain:
        where = f"{context.key}: domain '{name}'"
        whose = f"{context.key}.owner_train: '{self.owner_train}' of domain '{name}'"
        inputs, labels, cells = splits["train"]
        if "test" in splits:
            if self.split == "by_owner" and not context.single_client:
                raise InputError(
                    f"{where} has test arrays, so that there is nothing to split by_owner; leave "
                    "split out, or the test arrays"
                )
            test_inputs, test_labels, test_cells = splits["test"]
            whole = Domain(name, inputs, labels, test_inputs, test_labels, class_names)
            if cells is None or test_cells is None:
                return whole
            tested = f"{context.key}.owner_test: '{self.owner_test}' of domain '{name}'"
            return owned(whole, numbered(concatenated({whose: cells, tested: test_cells}), whose))
        owners = None if cells is None else numbered(cells, whose)
        return split_domain(
            name,
            inputs,
            labels,
            class_names,
            self.test_share,
            rng.generator(context.seed, "split", name),
            owners,
            self.split,
            context.target,
        )


@dataclass(frozen=True)
class _Arrays:
    """The arrays of one file, by split, and the names of unread ones."""

    inputs: dict[str, np.ndarray]
    labels: dict[str, Labels | np.ndarray]
    unread: Sequence[str] = ()
    owners: dict[str, np.ndarray] = field(default_factory=dict)


def _left_out(read: Mapping[str, _Arrays], key: str) -> list[str]:
    """A remark on arrays that no key of the source names."""
    names = [name for arrays in read.values() for name in arrays.unread]
    if not names:
        return []
    what = counted({f"array{{s}} ({listed(names)})": len(names)})
    return [f"{key}: left out {what}, which no key of the source names"]


def _parameter(name: str) -> str:
    split, _, kind = name.partition("_")
    first = {"owners": "owner", "inputs": "x", "labels": "y"}[kind]
    return f"{first}_{split}"
