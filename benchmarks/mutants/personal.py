"""Mistakes of methods whose clients keep models or layers: Ditto, FedRep, FedProto."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_personal_methods.py",)

MUTANTS = (
    Mutant(
        "ditto-is-anchored-at-the-trained-global-model",
        "fedlab/clients/ditto.py",
        '"anchor": carry.extra["anchor"]',
        '"anchor": carry.parameters',
        TESTS,
    ),
    Mutant(
        "ditto-personal-model-goes-on-with-the-optimiser",
        "fedlab/clients/ditto.py",
        "self.task.optimizer.start(own)",
        "carry.optimizer",
        TESTS,
    ),
    Mutant(
        "fedrep-head-learns-with-the-body",
        "fedlab/clients/fedrep.py",
        "trained=self.shared",
        "trained=None",
        TESTS,
    ),
    Mutant(
        "fedproto-prototypes-are-made-in-training-mode",
        "fedlab/clients/fedproto.py",
        "self.task.model.eval()",
        "self.task.model.train()",
        ("tests/test_fedproto.py",),
    ),
)
