"""Checks options of commands that change a finished run's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch

from fedlab.config.plain_values import LARGEST, SMALLEST
from fedlab.errors import InputError

T = TypeVar("T", bound=str)


def one_of(name: str, choices: tuple[T, ...], option: str) -> T:
    """The entry of that name.

    Args:
        name: What was given.
        choices: What there is.
        option: The option, for the error.

    Raises:
        InputError: If there is no such choice.
    """
    for choice in choices:
        if name == choice:
            return choice
    raise InputError(f"{option}: there is no '{name}'; choose from {', '.join(choices)}")


def above_zero(value: float, option: str) -> None:
    """Refuses a number that is not above 0, or that networks cannot compute with.

    Args:
        value: What was given.
        option: The option, for the error.

    Raises:
        InputError: If it is 0, negative, no number, or beyond what scenarios may have.
    """
    if not value > 0:
        raise InputError(f"{option}: {value:g} must be above 0")
    if not SMALLEST <= value <= LARGEST:
        raise InputError(f"{option}: {value:g} must be between {SMALLEST:g} and {LARGEST:g}")


def still_finite(changed: Mapping[str, torch.Tensor], words: str) -> None:
    """Refuses tensors that a rate too large has made infinite or nan, whose tests mean nothing.

    Args:
        changed: The tensors after the change, by name.
        words: The option, what it was and what is no longer finite, for the error.

    Raises:
        InputError: If a number is not finite.
    """
    if not all(torch.isfinite(tensor).all() for tensor in changed.values()):
        raise InputError(f"{words} no longer finite; use a smaller one")
