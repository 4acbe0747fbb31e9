"""Mistakes of latent label shift: clients as labels, cells, factors, and classes of samples."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_latent_label_shift.py",)
FINDING = "fedlab/adaptation/latent_classes.py"

MUTANTS = (
    Mutant(
        "latent-classes-stay-in-the-pool",
        "fedlab/partition/client_labels.py",
        "replace(data.train, labels=owner.clip(min=0))",
        "data.train",
        TESTS,
    ),
    Mutant(
        "latent-tests-are-of-classes",
        "fedlab/partition/client_labels.py",
        "replace(data.test, labels=tested)",
        "data.test",
        TESTS,
    ),
    Mutant(
        "latent-frequent-clients-are-likelier",
        FINDING,
        "even = chances / prior",
        "even = chances * prior",
        TESTS,
    ),
    Mutant(
        "latent-a-class-is-as-likely-everywhere",
        FINDING,
        "_distributions(chances * domains_of_classes(priors)[:, domain])",
        "chances",
        TESTS,
    ),
    Mutant(
        "latent-negative-chances-stay",
        FINDING,
        "_distributions(solved.clip(min=0))",
        "_distributions(np.abs(solved))",
        TESTS,
    ),
    Mutant(
        "latent-priors-by-class-in-place-of-by-domain",
        FINDING,
        "sums = priors.sum(axis=1, keepdims=True)",
        "sums = priors.sum(axis=0, keepdims=True)",
        TESTS,
    ),
    Mutant(
        "latent-factors-forget-their-scale",
        FINDING,
        "scaled = right * sums[:, None]",
        "scaled = right",
        TESTS,
    ),
    Mutant(
        "latent-the-last-start-counts",
        FINDING,
        "best is None or residual < best.residual",
        "True",
        TESTS,
    ),
    Mutant(
        "latent-centres-are-those-of-the-last-client",
        FINDING,
        "np.add.at(sums, where, points)",
        "sums[where] = points",
        TESTS,
    ),
    Mutant(
        "latent-anchors-are-the-largest-cells",
        FINDING,
        "lengths = (left**2).sum(axis=1)",
        "lengths = sizes.copy()",
        TESTS,
    ),
    Mutant(
        "latent-any-cell-may-be-an-anchor",
        FINDING,
        "allowed = sizes >= least * shares.shape[1]",
        "allowed = sizes >= 0",
        TESTS,
    ),
    Mutant(
        "latent-classes-are-matched-for-fewest-right-samples",
        FINDING,
        "maximize=True",
        "maximize=False",
        TESTS,
    ),
)
