"""Mistakes of who gets what: label skew, label budget, and the seeds of everything."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_skews.py",)

MUTANTS = (
    Mutant(
        "dirichlet-alpha-is-doubled",
        "fedlab/scenarios/dirichlet.py",
        "log_gamma(self.alpha,",
        "log_gamma(2 * self.alpha,",
        TESTS,
    ),
    Mutant(
        "dirichlet-rivals-have-half-their-strength",
        "fedlab/scenarios/dirichlet.py",
        "np.where(sees, strength, shares.max(axis=1))",
        "np.where(sees, strength, shares.max(axis=1) / 2)",
        TESTS,
    ),
    Mutant(
        "label-budget-is-not-stratified",
        "fedlab/partition/label_budget.py",
        "owners * classes + labels if self.stratified else owners",
        "owners",
        TESTS,
    ),
    Mutant(
        "seeds-ignore-their-purpose",
        "fedlab/rng.py",
        "[str(seed), purpose, *map(str, key)]",
        "[str(seed), *map(str, key)]",
        ("tests/test_rng.py",),
    ),
    Mutant(
        "all-skews-draw-the-same-numbers",
        "fedlab/partition/partition.py",
        'generator(seed, "partition", "labels")',
        'generator(seed, "partition", "domains")',
        ("tests/test_rng.py",),
    ),
)
