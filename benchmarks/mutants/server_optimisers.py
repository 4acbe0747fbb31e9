"""Mistakes of server optimisers, FedNova and FedBuff."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_server_optimisers.py",)

PROXIMAL = (
    "tests/test_server_optimisers.py::"
    "test_fednova_with_a_proximal_term_and_momentum_is_that_written_out",
)

STEP = ("tests/test_fedbuff.py::test_a_step_is_the_mean_of_changes_that_fade",)

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
    Mutant(
        "fedavgm-ignores-the-server-learning-rate",
        "fedlab/strategies/fedavgm.py",
        "velocity, chosen.server_lr)",
        "velocity, 1.0)",
        TESTS,
    ),
    Mutant(
        "fedavgm-velocity-turns-back",
        "fedlab/strategies/fedavgm.py",
        "chosen.momentum)",
        "-chosen.momentum)",
        TESTS,
    ),
    Mutant(
        "fedavgm-keeps-the-change-in-place-of-the-velocity",
        "fedlab/strategies/fedavgm.py",
        '"velocity": velocity}',
        '"velocity": self.change(average)}',
        TESTS,
    ),
    Mutant(
        "fedadam-shares-of-the-square-are-exchanged",
        "fedlab/strategies/fedadam.py",
        "1 - self.parameters.beta_2",
        "self.parameters.beta_2",
        TESTS,
    ),
    Mutant(
        "fedadam-square-starts-at-zero",
        "fedlab/strategies/families/fedopt.py",
        "self.filled(tau**2)",
        "self.filled(0.0)",
        TESTS,
    ),
    Mutant(
        "fedadam-forgets-its-mean-change",
        "fedlab/strategies/families/fedopt.py",
        '"mean": mean, "square"',
        '"mean": self.filled(0.0), "square"',
        TESTS,
    ),
    Mutant(
        "fedyogi-moves-by-the-difference",
        "fedlab/strategies/fedyogi.py",
        "square * (v - square).sign()",
        "(v - square)",
        TESTS,
    ),
    Mutant(
        "fedyogi-never-comes-down",
        "fedlab/strategies/fedyogi.py",
        "(v - square).sign()",
        "-1",
        TESTS,
    ),
    Mutant(
        "fedyogi-shares-of-the-square-are-exchanged",
        "fedlab/strategies/fedyogi.py",
        "(1 - beta_2) * square",
        "beta_2 * square",
        TESTS,
    ),
    Mutant(
        "fedadagrad-adds-what-is-not-squared",
        "fedlab/strategies/fedadagrad.py",
        "v + change.square()",
        "v + change.abs()",
        TESTS,
    ),
    Mutant(
        "fedadagrad-has-momentum",
        "fedlab/strategies/fedadagrad.py",
        "default=0.0,",
        "default=0.9,",
        TESTS,
    ),
    Mutant(
        "fedadagrad-steps-back",
        "fedlab/strategies/families/fedopt.py",
        "step, chosen.server_lr)",
        "step, -chosen.server_lr)",
        TESTS,
    ),
    Mutant(
        "fedbuff-changes-are-from-the-newest-model",
        "fedlab/strategies/fedbuff.py",
        "self._model(version[update.client]) for",
        'self.state["arrays"] for',
        STEP,
    ),
    Mutant(
        "fedbuff-fading-makes-no-step-shorter",
        "fedlab/strategies/fedbuff.py",
        "chosen.server_lr * sum(fading) / sum(weights)",
        "chosen.server_lr",
        STEP,
    ),
    Mutant(
        "fedbuff-keeps-no-models-of-clients-at-work",
        "fedlab/strategies/fedbuff.py",
        "for number in needed}",
        "for number in needed[:0]}",
        STEP,
    ),
    Mutant(
        "fedbuff-steps-back",
        "fedlab/strategies/fedbuff.py",
        "change, step)",
        "change, -step)",
        STEP,
    ),
)
