"""Sequences of ids, padded or cut to one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedlab.data import mapped
from fedlab.data.ids import Ids
from fedlab.data.remarks import counted
from fedlab.data.samples import Domain
from fedlab.errors import InputError

SPLITS = ("train_inputs", "test_inputs")


def fitted(domains: Sequence[Domain], ids: Ids, key: str) -> list[Domain]:
    """Domains whose sequences are padded or cut to one length.

    Args:
        domains: With inputs of shape (n, length), or sequences of different lengths: object arrays
            or lists of whole numbers.
        ids: The scenario's ``data.ids``.
        key: Key of the source, for errors and remarks.

    Raises:
        InputError: If sequences differ in length and nothing says how to fill them up, or are no
            whole numbers.
    """
    if ids.pad is None and domains[0].ids is not None:
        ids = ids.model_copy(update={"pad": domains[0].ids.pad})
    arrays = [getattr(domain, name) for domain in domains for name in SPLITS]
    widths = {each.shape[1] for each in arrays if _is_table(each)}
    fits = all(map(_is_table, arrays)) and widths == {ids.length or max(widths)}
    _refuse_copies(arrays, fits, key)
    if fits:
        return [
            replace(domain, **{name: _whole(getattr(domain, name), key) for name in SPLITS})
            for domain in domains
        ]
    found = {
        (place, name): sequences(getattr(domain, name), f"{key}: domain '{domain.name}'")
        for place, domain in enumerate(domains)
        for name in SPLITS
    }
    lengths = {len(row) for each in found.values() for row in each}
    length = ids.length or max(lengths, default=0)
    if ids.pad is None and min(lengths, default=length) < length:
        raise InputError(
            f"{key}: its sequences have {min(lengths)} to {max(lengths)} ids; say with "
            "data.ids.pad which id fills them up (and with data.ids.length to how many), or save "
            "them at one length"
        )
    remarks = _length_remarks(list(found.values()), length, key)
    made = [
        replace(
            domain,
            **{name: padded(found[place, name], length, ids.pad or 0) for name in SPLITS},
        )
        for place, domain in enumerate(domains)
    ]
    return [made[0].with_remarks(remarks), *made[1:]]


def _refuse_copies(arrays: Sequence[Any], fits: bool, key: str) -> None:
    """Refuses large mapped files of ids that would have to be copied into memory.

    Raises:
        InputError: If they are of another type than int64, or of another length.
    """
    for array in arrays:
        is_large = isinstance(array, np.ndarray) and array.nbytes >= mapped.SMALLEST
        if is_large and mapped.file_of(array) and not (fits and array.dtype == np.int64):
            raise InputError(
                f"{key}: a large file has ids of type {array.dtype} and shape {array.shape}, which "
                "would be brought to int64 and to one length in memory; save them so"
            )


def padded(rows: Sequence[np.ndarray | Sequence[int]], length: int, pad: int) -> np.ndarray:
    """Sequences cut or padded at their ends.

    Args:
        rows: Ids of each.
        length: Ids to keep.
        pad: What fills up.

    Returns:
        int64 of shape (n, length).
    """
    made = np.full((len(rows), length), pad, np.int64)
    for row, own in zip(made, rows, strict=True):
        kept = min(len(own), length)
        row[:kept] = own[:kept]
    return made


def sequences(inputs: Any, where: str) -> Sequence[np.ndarray]:
    """The rows of an array, or of a list or an object array of sequences, as whole numbers.

    Raises:
        InputError: If they are anything else.
    """
    if _is_table(inputs):
        return list(_whole(inputs, where))
    if not isinstance(inputs, list) and getattr(inputs, "dtype", None) != np.object_:
        kind = getattr(inputs, "dtype", type(inputs).__name__)
        shape = getattr(inputs, "shape", "")
        raise InputError(
            f"{where} has inputs of type {kind} and shape {shape}; data.inputs=ids takes whole "
            "numbers of shape (n, length): encode words as numbers, or say data.inputs=numbers"
        )
    rows = []
    for row in inputs:
        try:
            made = np.asarray(row)
        except ValueError:  # sequences of sequences
            made = np.zeros((1, 1))
        if made.ndim != 1 or (made.dtype.kind not in "iu" and len(made)):
            raise InputError(
                f"{where} has a sequence of type {made.dtype} and shape {made.shape}; each has to "
                "be whole numbers in one row"
            )
        rows.append(_whole(made, where))
    return rows


def _is_table(inputs: Any) -> bool:
    """Whether inputs are numbers of shape (n, length)."""
    return isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype.kind in "iuf"


def _whole(array: np.ndarray, where: str) -> np.ndarray:
    """Numbers as int64; tables hold whole ones as floats."""
    if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.rint(array))).all():
        raise InputError(
            f"{where} has numbers that are not whole, and data.inputs says 'ids'; say "
            "data.inputs=numbers if they are measurements"
        )
    if array.dtype == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise InputError(f"{where} has ids beyond those of int64; number them from 0")
    return array.astype(np.int64, copy=False)


def _length_remarks(splits: Sequence[Sequence[np.ndarray]], length: int, key: str) -> list[str]:
    lengths = np.array([len(row) for split in splits for row in split])
    longer, shorter = int((lengths > length).sum()), int((lengths < length).sum())
    cut = counted({f"sequence{{s}} of more than {length} ids": longer})
    filled = counted({"shorter sequence{s}": shorter})
    parts = [f"cut {cut}"] * (longer > 0) + [f"filled up {filled}"] * (shorter > 0)
    return [f"{key}: {', '.join(parts)} (of {len(lengths):,})"] if parts else []
