"""Labels in arrays: whole numbers, text, booleans, or a column for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fedlab.data.class_names import check_given, is_plain, normal
from fedlab.data.csv_format import MISSING
from fedlab.data.labels import LabelType, classes_of
from fedlab.errors import InputError

TOO_MANY = "set y_train (and y_test) to the array that holds the classes"

_MARKS = {"nan", "-nan", *(mark.lower() for mark in MISSING)}


class Labels(NamedTuple):
    """The labels of one split.

    Attributes:
        codes: Index of each sample's label among `found`, int64.
        found: The different labels, as text.
        declared: All labels that there could be, where the array says so by its columns.
    """

    codes: np.ndarray
    found: list[str]
    declared: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.codes)


def texts(labels: np.ndarray, where: str, given: Sequence[str] | None = None) -> Labels:
    """The labels of an array as text.

    Args:
        labels: The array.
        where: What it is called in errors.
        given: Names of the classes, where the scenario gives them.

    Raises:
        InputError: If they are of no kind that names classes, or a text is a mark of a missing
            value that is not among the given names.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        return _by_column(labels, where)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "biufUS":
        raise InputError(
            f"{where} has the shape {labels.shape} and type {labels.dtype}; labels must be whole "
            "numbers, text or booleans of shape (n,), or (n, classes) with a single 1 in each row"
        )
    if labels.dtype.kind == "f":
        _check_whole(labels, where)
    elif labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    found, codes = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == "i" and len(found) and found[0] < 0:
        raise InputError(
            f"{where} has the label {found[0]}; number the classes from 0, or save their names as "
            "text (samples without a label do not belong into the array)"
        )
    shown = [str(int(each)) if labels.dtype.kind in "iuf" else str(each) for each in found]
    empty = [each for each in shown if not each.strip()]
    if empty:
        raise InputError(f"{where} has samples whose label is an empty text; name their class")
    if labels.dtype.kind in "US":
        _refuse_missing(shown, codes, where, given or ())
    return Labels(codes.reshape(-1).astype(np.int64), shown)


def classes(
    splits: Sequence[Labels],
    given: tuple[str, ...] | None,
    key: str,
    kind: LabelType = "text",
    remedy: str = TOO_MANY,
) -> tuple[Callable[[Labels], np.ndarray], tuple[str, ...], list[str]]:
    """A function that encodes the labels of a split, the names of the classes, and remarks.

    Args:
        splits: The labels of all splits of all files.
        given: Names of the classes, where the scenario gives them.
        key: Key of the source in the scenario.
        kind: See `classes_of`.
        remedy: Likewise.

    Raises:
        InputError: If labels are no classes, or others than those that are named.
    """
    found = {label for split in splits for label in (*split.found, *split.declared)}
    rows = sum(len(split) for split in splits)
    index, names, remarks = classes_of(found, rows, kind, key, remedy)
    if given is not None:
        given = check_given(given, f"{key}.class_names")
        index, names = _named(index, names, given, key)

    def numbered(labels: Labels) -> np.ndarray:
        own = np.array([index[label] for label in labels.found], np.int64)
        return own[labels.codes] if len(own) else labels.codes

    return numbered, names, remarks


def _named(
    index: dict[str, int], names: tuple[str, ...], given: tuple[str, ...], key: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Labels as indices into given names, or else into the names in their order."""
    if all(is_plain(name) and 0 <= int(name) < len(given) for name in names):
        return {label: int(names[place]) for label, place in index.items()}, given
    if set(names) <= set(given):  # text labels that are the names themselves
        return {label: given.index(names[place]) for label, place in index.items()}, given
    if len(names) == len(given):
        return index, given
    raise InputError(
        f"{key}.class_names gives {len(given)} names, but the labels are {len(names)} "
        f"({', '.join(names[:10])}{', ...' if len(names) > 10 else ''}); name each of them, in "
        "their order"
    )


def _by_column(labels: np.ndarray, where: str) -> Labels:
    """Labels of shape (n, classes) with a single 1 in each row."""
    is_one = labels.dtype.kind in "biuf" and labels.ndim == 2
    if (
        not is_one
        or not ((labels == 0) | (labels == 1)).all()
        or not (labels.sum(axis=1) == 1).all()
    ):
        raise InputError(
            f"{where} has the shape {labels.shape} and type {labels.dtype}; labels in columns must "
            "have a single 1 in each row and 0 elsewhere"
        )
    names = [str(column) for column in range(labels.shape[1])]
    return Labels(labels.argmax(axis=1).astype(np.int64), names, tuple(names))


def _refuse_missing(
    shown: Sequence[str], codes: np.ndarray, where: str, given: Sequence[str]
) -> None:
    """Refuses texts that mark missing values in tables, too; ``astype(str)`` makes 'nan' of one."""
    classes = {normal(name) for name in given}
    for place, label in enumerate(shown):
        if normal(label).lower() in _MARKS and normal(label) not in classes:
            sample = int(np.flatnonzero(codes.reshape(-1) == place)[0])
            raise InputError(
                f"{where} has the label '{label}' in sample {sample}, which is a mark of missing "
                "values; leave such samples out, or list it in the source's class_names, with the "
                "other classes, if it is one"
            )


def _check_whole(labels: np.ndarray, where: str) -> None:
    """Refuses floats that are not whole numbers."""
    labels = labels.astype(np.float64)  # float16 ends before the bound
    odd = labels[~(np.isfinite(labels) & (labels == np.floor(labels)) & (np.abs(labels) < 2**53))]
    if len(odd):
        raise InputError(
            f"{where} has the label {odd[0]:g}; labels must be whole numbers, text or booleans"
        )
    if labels.min(initial=0) < 0:
        raise InputError(
            f"{where} has the label {labels.min():g}; number the classes from 0, or save their "
            "names as text"
        )
