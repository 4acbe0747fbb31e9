"""The expected layout of a reply: names, types and shapes of its tensors.

The server derives it from the message and the method, and refuses replies that differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedlab.records import array_records

EXPECTED = "expected"
"""Name of a message's record with the reply's layout; it is not sent to the client."""

METRICS = frozenset({"loss", "steps"})
"""Metrics of every local round, beside the target's score."""


class Free(NamedTuple):
    """A dimension that differs between clients, such as the number of a client's classes.

    Attributes:
        name: Dimensions of one name are equal within a record.
        most: Its upper bound.
    """

    name: str
    most: int


@dataclass(frozen=True)
class Form:
    """One tensor.

    Attributes:
        dtype: Its type, by NumPy's name.
        shape: Its dimensions.
        low: The smallest value it may have; None for any.
        high: The largest.
        distinct: Whether no value may occur twice.
        counts: Whether its values count samples; their sum may not exceed the client's samples.
    """

    dtype: str
    shape: tuple[int | Free, ...]
    low: float | None = None
    high: float | None = None
    distinct: bool = False
    counts: bool = False

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Form:
        """The form of a tensor."""
        return cls(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))

    @property
    def largest(self) -> int:
        """Largest number of bytes of its values."""
        sizes = [size.most if isinstance(size, Free) else size for size in self.shape]
        return math.prod(sizes) * np.dtype(self.dtype).itemsize

    def fault(self, dtype: str, shape: tuple[int, ...], free: dict[str, int]) -> str:
        """The difference of an array from this form, in words; empty if there is none.

        Args:
            dtype: The array's type.
            shape: Its shape.
            free: Sizes of the record's free dimensions; those of this array are added.
        """
        if dtype != self.dtype:
            return f"is {dtype} and not {self.dtype}"
        if len(shape) != len(self.shape):
            return f"has the shape {shape}"
        for size, wanted in zip(shape, self.shape, strict=True):
            if isinstance(wanted, Free):
                if size > wanted.most or free.setdefault(wanted.name, size) != size:
                    return f"has the shape {shape}"
            elif size != wanted:
                return f"has the shape {shape}"
        return ""


Layout = Mapping[str, Mapping[str, Form]]
"""The tensors of a message, by record and name, in their order."""


class Expected(ConfigRecord):
    """The layout of replies to a message, where it differs from that of the message.

    Args:
        layout: The replies' tensors.
        metrics: Names of the replies' metrics besides ``num-examples``.
    """

    layout: Layout
    metrics: frozenset[str]

    def __init__(self, layout: Layout, metrics: frozenset[str] = METRICS) -> None:
        super().__init__()
        self.layout, self.metrics = layout, metrics


def layout_of(content: RecordDict) -> Layout:
    """The tensors of a message."""
    return {name: record_layout(record) for name, record in array_records(content).items()}


def record_layout(record: ArrayRecord) -> dict[str, Form]:
    """The tensors of one record."""
    return {name: Form(array.dtype, tuple(array.shape)) for name, array in record.items()}


def expected_of(content: RecordDict) -> Expected:
    """The layout of replies to a message: its `EXPECTED` record, or its own layout."""
    said = content.get(EXPECTED)
    return said if isinstance(said, Expected) else Expected(layout_of(content))
