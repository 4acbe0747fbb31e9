"""Mistakes of SCAFFOLD, FedDyn and FedDC."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_control_variates.py",)

BY_SHARE = (
    "tests/test_control_variates.py::"
    "test_by_share_the_optimum_is_that_of_all_samples_though_clients_count_the_same",
)

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
        "feddyn-h-is-not-scaled-by-participation",
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
)
