"""Mistakes of losses."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        "ldam-margin-is-of-the-square-root",
        "fedlab/losses/ldam.py",
        "** 0.25",
        "** 0.5",
        ("tests/test_losses.py",),
    ),
)
