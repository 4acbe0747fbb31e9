"""Classes of the labels of a table or of arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from fedlab.data.class_names import check_given, in_order, is_plain, normal, refuse_spellings
from fedlab.data.numbers import number
from fedlab.errors import InputError

LabelType = Literal["auto", "text"]
"""Whether decimals are refused as labels, or taken for codes."""

MANY_CLASSES = 10
"""So many different labels are taken for classes in the smallest of tables."""

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,99})\.0*")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?")


def check_label_type(label_type: LabelType, positive_above: float | None) -> None:
    """Refuses ``label_type: text`` beside ``positive_above``.

    Raises:
        ValueError: With the remedy.
    """
    if label_type == "text" and positive_above is not None:
        raise ValueError(
            "label_type: text takes labels for codes, and positive_above for measurements; leave "
            "one of them out"
        )


def classes_of(
    labels: Iterable[str], rows: int, kind: LabelType, key: str, remedy: str
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """The classes that labels stand for.

    Labels are text: ``07`` is not ``7``. Where all of them are plain integers, classes are in the
    order of numbers; ``2.0`` is then ``2``, as pandas writes integers with a gap among them.

    Args:
        labels: All different labels, as they stand in the files.
        rows: Samples that have them.
        kind: ``text`` takes decimals for codes, which are otherwise refused as measurements.
        key: Key of the scenario that names them.
        remedy: What to do where they are too many to be classes.

    Returns:
        The class of every label, the classes' names, and remarks.

    Raises:
        InputError: If they are no classes, or one class is spelt in two ways.
    """
    names = {label: normal(label) for label in labels}
    remarks = []
    if kind == "auto" and any(map(_WHOLE.fullmatch, names.values())):
        whole = {label: re.sub(r"\.0*$", "", name) for label, name in names.items()}
        if all(map(is_plain, whole.values())):
            if len(set(whole.values())) < len(set(names.values())):
                remarks.append(f"{key}: labels such as '2' and '2.0' are one class")
            names = whole
    found = set(names.values())
    if len(found) > max(MANY_CLASSES, rows / 2):
        raise InputError(
            f"{key}: the labels are {len(found)} different values in {rows} rows "
            f"({', '.join(sorted(found)[:3])}, ...), which are no classes; {remedy}"
        )
    if kind == "auto" and all(map(_DECIMAL.fullmatch, found)) and not all(map(is_plain, found)):
        measured = next(name for name in sorted(found) if not is_plain(name))
        raise InputError(
            f"{key}: the labels hold {measured}, which is no class; correct label, set "
            "positive_above to make two classes of a measurement, or label_type: text if they are "
            "codes"
        )
    refuse_spellings(found, f"{key}: there are the labels")
    remarks += _zeros(found, key)
    ordered = in_order(found)
    index = {name: place for place, name in enumerate(ordered)}
    return {label: index[name] for label, name in names.items()}, tuple(ordered), remarks


def split_at(
    labels: Iterable[str], threshold: float, key: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Two classes of a measurement: whether it is above a threshold.

    Raises:
        InputError: If a label is no number.
    """
    classes = {}
    for label in labels:
        value = number(label)
        if value is None:
            raise InputError(
                f"{key}.positive_above needs numeric labels ('{label[:60]}' is none); leave it out"
            )
        classes[label] = int(value > threshold)
    return classes, (f"<= {threshold:g}", f"> {threshold:g}")


def renamed(names: tuple[str, ...], given: tuple[str, ...] | None, key: str) -> tuple[str, ...]:
    """The scenario's names of classes, in the order of those that were found.

    Raises:
        InputError: If they are not as many, or one stands there twice.
    """
    if given is None:
        return names
    given = check_given(given, f"{key}.class_names")
    if len(given) != len(names):
        raise InputError(
            f"{key}.class_names gives {len(given)} names, but the labels make {len(names)} classes "
            f"({', '.join(names[:10])}); name each of them"
        )
    return given


def _zeros(names: set[str], key: str) -> list[str]:
    """A remark where labels differ by leading zeros alone."""
    shorter = {name: name.lstrip("0") or "0" for name in names if name.isdecimal()}
    for name in sorted(shorter):
        if shorter[name] != name and shorter[name] in names:
            return [f"{key}: the labels '{name}' and '{shorter[name]}' are two classes"]
    return []
