"""Arrays of several files combined into domains, with the owners of their samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedlab.data.owners import names_of
from fedlab.errors import InputError

Splits = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]
"""For ``train``, and ``test`` where it is there: inputs, class indices, owners by their names."""


def together(parts: Mapping[str, Splits], where: str) -> Splits:
    """The arrays of files that are one owner each, named after the file.

    Args:
        parts: The splits of each file.
        where: The key of the files, for errors.

    Raises:
        InputError: If some files have test arrays and others none, or samples differ in shape.
    """
    (first, splits), *others = parts.items()
    for name, own in others:
        if own.keys() != splits.keys():
            one, other = (first, name) if "test" in splits else (name, first)
            raise InputError(
                f"{where}: '{one}' has test arrays and '{other}' has none; give all owners some, "
                "or none"
            )
        shape, first_shape = own["train"][0].shape[1:], splits["train"][0].shape[1:]
        if shape != first_shape or own["train"][0].dtype != splits["train"][0].dtype:
            raise InputError(
                f"{where}: samples of '{name}' have the shape {shape} and those of '{first}' "
                f"{first_shape}, or another type; give all owners the same kind of samples"
            )
    return {
        split: (
            np.concatenate([own[split][0] for own in parts.values()]),
            np.concatenate([own[split][1] for own in parts.values()]),
            np.repeat(list(parts), [len(own[split][1]) for own in parts.values()]),
        )
        for split in splits
    }


def concatenated(owners: Mapping[str, np.ndarray]) -> np.ndarray:
    """Owners of several splits in one array, converted to text if one of them is text.

    Args:
        owners: The array of each split, by the key and the array for errors.

    Raises:
        InputError: If one of them holds something else than names or whole numbers.
    """
    owners = {where: names_of(each, where) for where, each in owners.items()}
    if all(each.dtype.kind in "iub" for each in owners.values()):
        return np.concatenate([*owners.values()])
    return np.concatenate([each.astype(str) for each in owners.values()])
