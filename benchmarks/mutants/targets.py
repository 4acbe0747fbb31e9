"""Mistakes of targets other than classes: their strata, units, losses and metrics."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

HOUSE = ("tests/test_targets.py",)
LOSSES = ("tests/test_target_losses.py",)
METRICS = ("tests/test_target_metrics.py",)
PARTITION = ("tests/test_target_partition.py",)

MUTANTS = (
    Mutant(
        "the-asymmetric-loss-shifts-chances-up",
        "fedlab/losses/bce.py",
        "(chance - self.clip).clamp(min=0)",
        "(chance + self.clip).clamp(max=0.999)",
        LOSSES,
    ),
    Mutant(
        "a-prior-of-labels-counts-hidden-ones",
        "fedlab/losses/bce.py",
        "stats.samples if stats.labelled is None else stats.labelled",
        "stats.samples",
        LOSSES,
    ),
    Mutant(
        "r2-is-of-squares-around-zero",
        "fedlab/metrics/r2.py",
        'counts["squares"] - counts["sum"].square() / counts["samples"]',
        'counts["squares"] + 0',
        METRICS,
    ),
    Mutant(
        "errors-are-in-units-of-what-is-learnt",
        "fedlab/targets/regression.py",
        "return own * std + mean",
        "return own * std + 0 * mean",
        METRICS,
    ),
    Mutant(
        "a-rare-set-goes-by-its-most-frequent-label",
        "fedlab/targets/multi_label.py",
        "next((label for label in self.rarity if",
        "next((label for label in reversed(self.rarity) if",
        PARTITION,
    ),
    Mutant(
        "unseen-domains-give-mean-and-deviation",
        "fedlab/data/load.py",
        "target.fitted(data.train.labels[seen])",
        "target.fitted(data.train.labels)",
        PARTITION,
    ),
)
