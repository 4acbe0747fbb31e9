"""Mistakes of methods with a term or a step of their own: FedProx, MOON, FedNTD, FedSAM."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_regularised_methods.py",)
MOON = ("tests/test_moon.py",)

MUTANTS = (
    Mutant(
        "fedprox-penalty-is-not-halved",
        "fedlab/training/pull.py",
        "self.weight / 2 *",
        "self.weight *",
        ("tests/test_local_round.py",),
    ),
    Mutant(
        "moon-compares-with-the-received-model-twice",
        "fedlab/clients/moon.py",
        'carry.extra["previous"]',
        'carry.extra["global"]',
        MOON,
    ),
    Mutant(
        "moon-others-are-in-training-mode",
        "fedlab/clients/moon.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        MOON,
    ),
    Mutant(
        "fedntd-teacher-is-in-training-mode",
        "fedlab/clients/fedntd.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        TESTS,
    ),
    Mutant(
        "fedntd-leaves-out-the-squared-temperature",
        "fedlab/clients/fedntd.py",
        "return tau**2 * ",
        "return ",
        TESTS,
    ),
    Mutant(
        "fedsam-takes-the-gradient-of-where-the-client-is",
        "fedlab/clients/fedsam.py",
        "gradients(elsewhere, batch, phase)",
        "gradients(carry, batch, phase)",
        TESTS,
    ),
    Mutant(
        "mofedsam-mean-gradient-has-the-other-sign",
        "fedlab/clients/fedsam.py",
        "step / -lr",
        "step / lr",
        TESTS,
    ),
)
