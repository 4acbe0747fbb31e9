"""Labels in arrays for multi-label and regression targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fedlab.data.array_labels import texts
from fedlab.data.class_names import check_given
from fedlab.data.source import LoadContext
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, Target


def reader(
    context: LoadContext, given: Sequence[str] | None = None
) -> Callable[[np.ndarray, str], Any]:
    """What reads the labels of an array: as classes, or as the numbers that are learnt.

    It takes the array, and what it is called in errors.

    Args:
        context: Says what is learnt.
        given: Names of the classes, where the scenario gives them.
    """
    if context.target.kind == CLASS:
        return partial(texts, given=given)
    return lambda labels, where: numbers(labels, where, context.target)


def numbers(labels: np.ndarray, where: str, target: Target) -> np.ndarray:
    """The labels of an array as float64 of shape (n, columns).

    Raises:
        InputError: If they are no numbers, of more dimensions, or no labels of the target.
    """
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "biuf" or 0 in labels.shape[1:]:
        raise InputError(
            f"{where} has the shape {labels.shape} and type {labels.dtype}; with this data.target "
            "labels must be numbers of shape (n,) or (n, columns)"
        )
    made = labels.reshape(len(labels), -1).astype(np.float64)
    target.check_values(made, [f"column {place}" for place in range(made.shape[1])], where)
    return made


def columns(
    splits: Sequence[np.ndarray], given: tuple[str, ...] | None, context: LoadContext
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], list[str]]:
    """A function that encodes labels (the identity), the names of the columns, and no remarks.

    Args:
        splits: The labels of all splits of all files, each of shape (n, columns).
        given: Names of the columns, where the scenario gives them.
        context: Says what is learnt, and where the source stands.

    Raises:
        InputError: If arrays have different numbers of columns, or other than are named.
    """
    widths = sorted({split.shape[1] for split in splits})
    if len(widths) > 1:
        raise InputError(
            f"{context.key}: the labels have {widths[0]} columns in one array and {widths[1]} in "
            "another; save the same ones everywhere"
        )
    return lambda labels: labels, names_of_columns(given, (), widths[0], context), []


def names_of_columns(
    given: tuple[str, ...] | None, found: Sequence[str], count: int, context: LoadContext
) -> tuple[str, ...]:
    """Names of the labels or targets.

    Args:
        given: By the scenario.
        found: In the file; none where it names nothing.
        count: How many there are.
        context: As for `columns`.

    Raises:
        InputError: If another number of names is given, or one twice.
    """
    noun, nouns = context.target.nouns
    if given is None:
        return tuple(found) or tuple(f"{noun} {index}" for index in range(count))
    if len(given) != count:
        raise InputError(
            f"{context.key}.class_names gives {len(given)} names, and there are {count} "
            f"{nouns if count != 1 else noun}; name each column of the labels, in their order"
        )
    return check_given(given, f"{context.key}.class_names")
