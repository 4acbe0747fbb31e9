"""Mistakes of losses."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

CALIBRATED = "fedlab/losses/calibrated.py"

MUTANTS = (
    Mutant(
        "ldam-margin-is-of-the-square-root",
        "fedlab/losses/ldam.py",
        "** 0.25",
        "** 0.5",
        ("tests/test_losses.py",),
    ),
    Mutant(
        "fedlc-margin-has-the-other-sign",
        CALIBRATED,
        'outputs - kept["margins"]',
        'outputs + kept["margins"]',
        ("tests/test_losses.py",),
    ),
    Mutant(
        "fedlc-margin-is-of-the-square-root",
        CALIBRATED,
        "counts**-0.25",
        "counts**-0.5",
        ("tests/test_losses.py",),
    ),
    Mutant(
        "fedrs-scales-the-classes-there-are",
        CALIBRATED,
        "(counts > 0)",
        "(counts == 0)",
        ("tests/test_losses.py",),
    ),
    Mutant(
        "fedrs-soft-scale-is-of-shares",
        CALIBRATED,
        "counts.amax()",
        "counts.sum()",
        ("tests/test_losses.py",),
    ),
)
