"""Mistakes of server optimisers, FedNova and FedBuff."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_server_optimisers.py",)

PROXIMAL = (
    "tests/test_server_optimisers.py::"
    "test_fednova_with_a_proximal_term_and_momentum_is_that_written_out",
)

MUTANTS = (
    Mutant(
        "fedavgm-forgets-its-velocity",
        "fedlab/strategies/fedavgm.py",
        "chosen.momentum)",
        "0.0)",
        TESTS,
    ),
    Mutant(
        "fedadagrad-knows-the-last-square-alone",
        "fedlab/strategies/fedadagrad.py",
        "v + change.square()",
        "change.square()",
        TESTS,
    ),
    Mutant(
        "fedadam-tau-is-inside-the-root",
        "fedlab/strategies/families/fedopt.py",
        "(square[name].sqrt() + chosen.tau)",
        "(square[name] + chosen.tau).sqrt()",
        TESTS,
    ),
    Mutant(
        "fedyogi-moves-the-square-the-other-way",
        "fedlab/strategies/fedyogi.py",
        "v - (1 - beta_2)",
        "v + (1 - beta_2)",
        TESTS,
    ),
    Mutant(
        "fednova-ignores-momentum",
        "fedlab/clients/fednova.py",
        "coefficient_sum(steps, spec.momentum,",
        "coefficient_sum(steps, 0.0,",
        TESTS,
    ),
    Mutant(
        "fednova-proximal-term-is-not-halved",
        "fedlab/clients/fednova.py",
        "self.parameters.mu / 2",
        "self.parameters.mu",
        PROXIMAL,
    ),
    Mutant(
        "fednova-sum-ignores-the-proximal-term",
        "fedlab/clients/fednova.py",
        "nesterov=spec.nesterov, pull=pull",
        "nesterov=spec.nesterov",
        PROXIMAL,
    ),
    Mutant(
        "fednova-server-forgets-its-velocity",
        "fedlab/strategies/fednova.py",
        'step = self.state["velocity"] = plus',
        "step = plus",
        PROXIMAL,
    ),
    Mutant(
        "fedbuff-stale-updates-count-in-full",
        "fedlab/strategies/fedbuff.py",
        "weight * (1 + age) ** -chosen.staleness_exponent",
        "weight",
        ("tests/test_fedbuff.py",),
    ),
)
