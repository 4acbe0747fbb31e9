"""Mistakes of SCAFFOLD, FedDyn and FedDC."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_control_variates.py",)

BY_SHARE = (
    "tests/test_control_variates.py::"
    "test_by_share_the_optimum_is_that_of_all_samples_though_clients_count_the_same",
)
FORMULAS = ("tests/test_control_variates.py::test_rounds_are_those_of_the_formulas",)

MUTANTS = (
    Mutant(
        "scaffold-correction-has-the-other-sign",
        "fedlab/clients/scaffold.py",
        "for record in (server, own)",
        "for record in (own, server)",
        TESTS,
    ),
    Mutant(
        "scaffold-ignores-the-server-learning-rate",
        "fedlab/strategies/scaffold.py",
        "self.change(average), server_lr)",
        "self.change(average), 1.0)",
        TESTS,
    ),
    Mutant(
        "feddyn-linear-term-has-the-other-sign",
        "fedlab/clients/feddyn.py",
        "h.items()}, -1.0)",
        "h.items()}, 1.0)",
        TESTS,
    ),
    Mutant(
        "a-mean-over-all-clients-is-not-scaled-by-participation",
        "fedlab/strategies/families/server_update.py",
        "factor * self.participation(updates)",
        "factor",
        TESTS,
    ),
    Mutant(
        "feddc-server-does-not-add-the-drift",
        "fedlab/strategies/feddc.py",
        "plus(average, drift)",
        "average",
        TESTS,
    ),
    Mutant(
        "feddyn-by-share-multiplies-by-the-share",
        "fedlab/clients/feddyn.py",
        "self.alpha / share",
        "self.alpha * share",
        BY_SHARE,
    ),
    Mutant(
        "scaffold-change-is-of-the-whole-round",
        "fedlab/clients/scaffold.py",
        "length = steps * trainer",
        "length = trainer",
        FORMULAS,
    ),
    Mutant(
        "scaffold-server-forgets-its-control-variate",
        "fedlab/strategies/scaffold.py",
        'self.take_in(self.state["control"], updates, news)',
        "self.take_in(self.filled(0.0), updates, news)",
        FORMULAS,
    ),
    Mutant(
        "scaffold-client-forgets-its-control-variate",
        "fedlab/clients/scaffold.py",
        'own = added(carry.extra["control"], change)',
        "own = change",
        FORMULAS,
    ),
    Mutant(
        "feddyn-server-corrects-the-other-way",
        "fedlab/strategies/feddyn.py",
        "h, -1 / alpha)",
        "h, 1 / alpha)",
        FORMULAS,
    ),
    Mutant(
        "feddyn-server-correction-is-not-divided",
        "fedlab/strategies/feddyn.py",
        "h, -1 / alpha)",
        "h, -1)",
        FORMULAS,
    ),
    Mutant(
        "feddyn-client-forgets-its-linear-term",
        "fedlab/clients/feddyn.py",
        'less(times(moved, -self.alpha), carry.extra["-h"])',
        "times(moved, -self.alpha)",
        FORMULAS,
    ),
    Mutant(
        "feddc-centre-is-on-the-other-side",
        "fedlab/clients/feddc.py",
        "centre = less(",
        "centre = added(",
        FORMULAS,
    ),
    Mutant(
        "feddc-client-drift-is-that-of-one-round",
        "fedlab/clients/feddc.py",
        'less(added(carry.extra["drift"], carry.parameters), received.model)',
        "less(carry.parameters, received.model)",
        FORMULAS,
    ),
    Mutant(
        "feddc-a-part-of-the-clients-counts-as-all",
        "fedlab/strategies/feddc.py",
        '"gradient"), share)',
        '"gradient"), 1.0)',
        FORMULAS,
    ),
)
