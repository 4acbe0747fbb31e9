"""Mistakes of methods for few labels: FedLabel, FixMatch, UDA, and strong views."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_limited_labels.py",)
VIEWS = ("tests/test_strong_views.py",)
FIXMATCH = ("tests/test_limited_labels.py::test_fixmatch_by_hand",)
UDA = ("tests/test_limited_labels.py::test_uda_by_hand",)

MUTANTS = (
    Mutant(
        "fedlabel-the-student-has-no-temperature",
        "fedlab/clients/fedlabel.py",
        "log_softmax(self.cooled(plain), dim=-1)",
        "log_softmax(plain, dim=-1)",
        ("tests/test_limited_labels.py",),
    ),
    Mutant(
        "fedlabel-holds-the-student-by-a-sum-of-squares",
        "fedlab/clients/fedlabel.py",
        "(parameters[n] - w).square().mean()",
        "(parameters[n] - w).square().sum()",
        ("tests/test_limited_labels.py",),
    ),
    Mutant(
        "fedlabel-pseudo-labels-do-not-count",
        "fedlab/clients/fedlabel.py",
        'counts["labelled"] + pseudo',
        'counts["labelled"]',
        TESTS,
    ),
    Mutant(
        "fedlabel-consistency-where-models-disagree",
        "fedlab/clients/fedlabel.py",
        "torch.where(agrees, ",
        "torch.where(torch.ones_like(agrees), ",
        TESTS,
    ),
    Mutant(
        "fedlabel-teachers-are-in-training-mode",
        "fedlab/clients/fedlabel.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        TESTS,
    ),
    Mutant(
        "fedlabel-local-teacher-has-the-received-statistics",
        "fedlab/clients/fedlabel.py",
        'extra["local"], extra["local buffers"]',
        'extra["local"], extra["global buffers"]',
        TESTS,
    ),
    Mutant(
        "fedlabel-student-goes-on-with-the-optimiser",
        "fedlab/clients/fedlabel.py",
        "optimizer=self.task.optimizer.start(student)",
        "optimizer=carry.optimizer",
        TESTS,
    ),
    Mutant(
        "fedlabel-ties-go-to-the-received-model",
        "fedlab/clients/fedlabel.py",
        "sure_near >= sure_far",
        "sure_near > sure_far",
        TESTS,
    ),
    Mutant(
        "fedlabel-steps-where-nothing-is-kept",
        "fedlab/clients/fedlabel.py",
        'carry.extra["step"]["taken"] if phase.strong_views else None',
        "None",
        TESTS,
    ),
    Mutant(
        "fedlabel-statistics-follow-what-is-not-kept",
        "fedlab/clients/fedlabel.py",
        "before.put_back(taken)",
        "pass",
        TESTS,
    ),
    Mutant(
        "fixmatch-and-uda-ignore-their-ratio",
        "fedlab/clients/families/semi_supervised.py",
        "unlabelled=self.own.ratio",
        "unlabelled=1",
        TESTS,
    ),
    Mutant(
        "fixmatch-learns-from-what-it-is-not-sure-of",
        "fedlab/clients/fixmatch.py",
        "chances >= threshold",
        "chances >= 0",
        TESTS,
    ),
    Mutant(
        "uda-does-not-sharpen",
        "fedlab/clients/uda.py",
        "weak / own.temperature",
        "weak",
        TESTS,
    ),
    Mutant(
        "strong-views-have-magnitude-1",
        "fedlab/data/strong_operations.py",
        "MAGNITUDE = 10 / 30",
        "MAGNITUDE = 1 / 30",
        VIEWS,
    ),
    Mutant(
        "strong-views-solarise-above-the-magnitude",
        "fedlab/data/strong_operations.py",
        "SOLARIZE = 1 - MAGNITUDE",
        "SOLARIZE = MAGNITUDE",
        VIEWS,
    ),
    Mutant(
        "fixmatch-labels-are-those-of-strong-views",
        "fedlab/clients/fixmatch.py",
        "weak.softmax(dim=-1)",
        "strong.softmax(dim=-1)",
        FIXMATCH,
    ),
    Mutant(
        "fixmatch-ignores-its-weight",
        "fedlab/clients/families/semi_supervised.py",
        "return self.own.weight",
        "return 1.0",
        FIXMATCH,
    ),
    Mutant(
        "fixmatch-loss-of-unlabelled-samples-is-a-sum",
        "fedlab/clients/families/semi_supervised.py",
        "self.consistency(weak.detach(), strong).sum() / max(others, 1)",
        "self.consistency(weak.detach(), strong).sum()",
        FIXMATCH,
    ),
    Mutant(
        "uda-learns-from-what-it-is-not-sure-of",
        "fedlab/clients/uda.py",
        "> own.threshold",
        "> 0",
        UDA,
    ),
    Mutant(
        "uda-divergence-is-the-other-way-round",
        "fedlab/clients/uda.py",
        "kl_div(log_softmax(strong, dim=-1), target,",
        "kl_div(target, log_softmax(strong, dim=-1),",
        UDA,
    ),
    Mutant(
        "uda-divergence-is-a-mean-over-classes",
        "fedlab/clients/uda.py",
        "apart.sum(dim=-1)",
        "apart.mean(dim=-1)",
        UDA,
    ),
)
