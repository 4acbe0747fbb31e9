"""Which mutants are a method's own: those whose names begin with its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from benchmarks.mutants.mutant import Mutant

LEAST = 3
"""Mutants that every method has at least: mistakes of different kinds, such as a sign, a factor, an
update that is left out, or a record that is wrong or missing."""


def method_of(mutant: Mutant, methods: Collection[str]) -> str:
    """The method that a mutant is of, or nothing: it is then of what methods share.

    Args:
        mutant: The mutant.
        methods: Registered names of methods; dashes in a mutant's name are their underscores.
    """
    name = mutant.name.replace("_", "-")
    fits = [each for each in methods if name.startswith(f"{each.replace('_', '-')}-")]
    return max(fits, key=len, default="")


def mutants_of(
    method: str, mutants: Sequence[Mutant], methods: Collection[str]
) -> tuple[Mutant, ...]:
    """The mutants of a method, in their order."""
    return tuple(mutant for mutant in mutants if method_of(mutant, methods) == method)
