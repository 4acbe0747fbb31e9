"""Mistakes of methods whose clients keep models or layers of their own."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_personal_methods.py",)

MUTANTS = (
    Mutant(
        "fedper-always-keeps-one-layer",
        "fedlab/strategies/families/local_head.py",
        "*last_parts(model, self.layers)",
        "*last_parts(model, 1)",
        TESTS,
    ),
    Mutant(
        "lg-fedavg-shares-the-first-layers",
        "fedlab/strategies/lg_fedavg.py",
        "if name not in travels",
        "if name in travels",
        TESTS,
    ),
    Mutant(
        "ditto-is-anchored-at-the-trained-global-model",
        "fedlab/clients/ditto.py",
        'extra |= {"trained": ',
        'extra |= {"anchor": carry.parameters, "trained": ',
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
    Mutant(
        "fedproto-nearest-prototype-is-half-as-near",
        "fedlab/clients/fedproto.py",
        "2 * centres",
        "centres",
        ("tests/test_fedproto.py::test_the_nearest_prototype_by_hand",),
    ),
    Mutant(
        "fedproto-longest-prototype-is-nearest",
        "fedlab/clients/fedproto.py",
        "= -centres.square()",
        "= centres.square()",
        ("tests/test_fedproto.py::test_the_nearest_prototype_by_hand",),
    ),
    Mutant(
        "ditto-personal-model-is-trained-as-long-as-the-global-one",
        "fedlab/clients/ditto.py",
        "if epochs or steps else usual",
        "if False else usual",
        ("tests/test_personal_methods.py::test_ditto_is_fedavg_and_a_penalised_model_beside_it",),
    ),
)
