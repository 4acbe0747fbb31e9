"""Mistakes of what is measured, and of what is chosen by it."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

METRICS = ("tests/test_metrics.py",)
CHOSEN = ("tests/test_chosen_metrics.py",)
VALIDATION = ("tests/test_validation.py",)

MUTANTS = (
    Mutant(
        "f1-macro-counts-classes-without-samples",
        "fedlab/metrics/f1.py",
        "used = sizes > 0",
        "used = sizes >= 0",
        METRICS,
    ),
    Mutant(
        "auroc-takes-ties-for-wins",
        "fedlab/metrics/auroc.py",
        "within = (positive * negative).sum() / 2",
        "within = (positive * negative).sum()",
        METRICS,
    ),
    Mutant(
        "ece-bins-are-not-those-of-the-confidence",
        "fedlab/metrics/ece.py",
        "* self.bins).ceil().long() - 1",
        "* self.bins * 0.9).ceil().long() - 1",
        METRICS,
    ),
    Mutant(
        "all-clients-together-are-measured-by-the-first",
        "fedlab/metrics/metric_set.py",
        "for each in counts[1:]:",
        "for each in counts[1:1]:",
        CHOSEN,
    ),
    Mutant(
        "clients-validate-on-what-they-are-trained-on",
        "fedlab/partition/partition.py",
        "train, owner = train[~chosen], owner[~chosen]",
        "train, owner = train[:], owner[:]",
        VALIDATION,
    ),
    Mutant(
        "a-round-is-chosen-by-its-test",
        "fedlab/engine/execution/runtime.py",
        'received.config.get("split") == "validation"',
        'received.config.get("split") == "nothing"',
        VALIDATION,
    ),
    Mutant(
        "the-chosen-round-is-tested-with-the-clients-of-the-last",
        "fedlab/runs/selection.py",
        "self.grid.replace_states(checkpoint.client_records())",
        "self.grid.export_states([])",
        VALIDATION,
    ),
    Mutant(
        "an-equal-round-is-better",
        "fedlab/runs/best_round.py",
        "self.score.sign * value > self.score.sign * self.value",
        "self.score.sign * value >= self.score.sign * self.value",
        VALIDATION,
    ),
)
