"""Checks an option that takes one of a few names."""

from __future__ import annotations

from typing import TypeVar

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
