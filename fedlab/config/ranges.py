"""What a parameter may be drawn from: a range, or a list of values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedlab.errors import InputError

DIGITS = 4
"""Significant digits of a drawn number, so that a table and a file say the same."""


class Range(ABC):
    """Where a value is drawn from."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Any:
        """One value."""

    @abstractmethod
    def to_yaml(self) -> Any:
        """The range as values of YAML, in the form of a space file."""


@dataclass(frozen=True)
class _Between(Range):
    """A range between two numbers.

    Attributes:
        low: The lower end.
        high: The upper end.
    """

    kind: ClassVar[str]
    """What a space file calls it."""
    low: float
    high: float

    def to_yaml(self) -> Any:
        """``{kind: [low, high]}``."""
        return {self.kind: [self.low, self.high]}


@dataclass(frozen=True)
class LogUniform(_Between):
    """Uniform in the logarithm: as often between 0.001 and 0.01 as between 0.01 and 0.1."""

    kind: ClassVar[str] = "log"

    def draw(self, generator: np.random.Generator) -> float:
        """One number."""
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True)
class Uniform(_Between):
    """Every number between two as likely as any other."""

    kind: ClassVar[str] = "uniform"

    def draw(self, generator: np.random.Generator) -> float:
        """One number."""
        return float(f"{generator.uniform(self.low, self.high):.{DIGITS}g}")


@dataclass(frozen=True)
class Integers(_Between):
    """Every whole number from one to another, both included."""

    kind: ClassVar[str] = "integers"
    low: int
    high: int

    def draw(self, generator: np.random.Generator) -> int:
        """One number."""
        return int(generator.integers(self.low, self.high, endpoint=True))


@dataclass(frozen=True)
class Values(Range):
    """One of several values, each as likely as any other."""

    options: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """One of them."""
        return self.options[int(generator.integers(len(self.options)))]

    def to_yaml(self) -> Any:
        """The list."""
        return list(self.options)


KINDS = {each.kind: each for each in (LogUniform, Uniform, Integers)}


def read_range(written: Any, where: str) -> Range:
    """The range that stands in a space file.

    Args:
        written: A list of values, or ``{log: [low, high]}``, ``{uniform: ...}``,
            ``{integers: ...}``.
        where: The file and the key, for errors.

    Raises:
        InputError: If it is none of these, or empty.
    """
    if isinstance(written, Sequence) and not isinstance(written, str):
        if not written:
            raise InputError(f"{where}: has no value to choose from; name one or more")
        return Values(tuple(written))
    if not isinstance(written, Mapping) or len(written) != 1 or next(iter(written)) not in KINDS:
        raise InputError(
            f"{where}: {written!r} is no range; write a list of values, or one of "
            + ", ".join(f"{{{kind}: [low, high]}}" for kind in KINDS)
        )
    ((kind, ends),) = written.items()
    low, high = _ends(ends, kind == "integers", f"{where}: {kind}")
    if kind == "log" and low <= 0:
        raise InputError(f"{where}: log: {low:g} has no logarithm; begin above 0")
    return KINDS[kind](low, high)


def _ends(written: Any, whole: bool, where: str) -> tuple[Any, Any]:
    """Both ends of a range.

    Raises:
        InputError: If they are not two numbers, the lower one first.
    """
    kinds = int if whole else (int, float)
    ends = list(written) if isinstance(written, Sequence) and not isinstance(written, str) else []
    numbers = [e for e in ends if isinstance(e, kinds) and not isinstance(e, bool)]
    if len(ends) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        what = "two whole numbers, such as [1, 8]" if whole else "two numbers, such as [0.001, 1]"
        raise InputError(f"{where}: needs {what}")
    low, high = numbers
    if low == high:
        raise InputError(f"{where}: from {low:g} to {high:g} is one value; write it as [{low:g}]")
    if low > high:
        raise InputError(f"{where}: from {low:g} to {high:g} is nothing; name the lower first")
    return low, high
