"""Checks of a scenario's plain values: numbers, texts and paths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, get_args

LARGEST, SMALLEST = 1e30, 1e-30
"""Range of magnitudes of numbers; all are valid in float32."""

LARGEST_INTEGER = 2**63 - 1

LONGEST = 4096
"""Largest length of a text in characters, that of a path."""


def refuse_unmeant(value: Any, annotation: Any) -> Any:
    """Returns a value unchanged, unless it is not valid for its key.

    YAML's ``true`` is not accepted as 1, ``1_0`` not as 10, and infinity and numbers outside of
    float32's range are refused.

    Args:
        value: The scenario's value.
        annotation: The type of the key.

    Raises:
        ValueError: With the reason; the caller adds the key.
    """
    kinds = set(_leaves(annotation))
    for each in _values(value):
        if isinstance(each, bool):
            if kinds & {int, float} and bool not in kinds and Any not in kinds:
                raise ValueError(f"{str(each).lower()} is no number; give one")
        elif isinstance(each, int):
            if abs(each) > LARGEST_INTEGER:
                raise ValueError(f"has {len(str(abs(each)))} digits; use at most {LARGEST_INTEGER}")
        elif isinstance(each, float):
            _refuse_odd_float(each)
        elif isinstance(each, str):
            _refuse_odd_text(each, kinds)
    return value


def _refuse_odd_float(number: float) -> None:
    if not math.isfinite(number):
        raise ValueError(f"{number} is no finite number; leave the key out for no limit")
    if abs(number) > LARGEST or 0 < abs(number) < SMALLEST:
        raise ValueError(
            f"{number} is no number that networks can compute with; use one between {SMALLEST:g} "
            f"and {LARGEST:g}"
        )


def _refuse_odd_text(text: str, kinds: set[Any]) -> None:
    if len(text) > LONGEST:
        raise ValueError(f"a text of {len(text)} characters; use at most {LONGEST}")
    if "\0" in text:
        raise ValueError("has a NUL character; take it out")
    if "_" in text and text.replace("_", "").isdigit() and kinds & {int, float}:
        raise ValueError(f"'{text}' is a text and no number; write it without the underscore")


def _values(value: Any) -> Iterator[Any]:
    """The value itself, or all values of nested lists."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _values(each)
    else:
        yield value


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types in an annotation; texts of a ``Literal`` are yielded as they are."""
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _leaves(argument)
