"""Mistakes of losses."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

CALIBRATED = "fedlab/losses/calibrated.py"
BY_HAND = ("tests/test_losses.py::test_calibrated_losses_by_hand",)

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
        BY_HAND,
    ),
    Mutant(
        "fedlc-margin-is-of-the-square-root",
        CALIBRATED,
        "counts**-0.25",
        "counts**-0.5",
        BY_HAND,
    ),
    Mutant(
        "fedrs-scales-the-classes-there-are",
        CALIBRATED,
        "(counts > 0)",
        "(counts == 0)",
        BY_HAND,
    ),
    Mutant(
        "fedrs-soft-scale-is-of-shares",
        CALIBRATED,
        "counts.amax()",
        "counts.sum()",
        BY_HAND,
    ),
)
