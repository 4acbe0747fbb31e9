"""Mistakes of what methods are compared with: FedAvg, local and centralised training.

Most of them are in code that other methods share; the tests are those of these three.
"""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

LOOP = ("tests/test_fedavg_in_60_lines.py::test_the_loop_is_the_engine",)
HELD_OUT = ("tests/test_held_out_clients.py::test_centralised_training_pools_the_others_alone",)
POOLED = ("tests/test_centralised.py",)

MUTANTS = (
    Mutant(
        "fedavg-clients-count-the-same",
        "fedlab/strategies/base.py",
        "client_weight(update.metrics, self.parameters.weighting)",
        'client_weight(update.metrics, "uniform")',
        ("tests/test_strategies.py::test_fedavg_weighs_by_examples",),
    ),
    Mutant(
        "fedavg-server-keeps-its-model",
        "fedlab/strategies/base.py",
        'self.state["arrays"] = self.weighted_mean(updates, "arrays")',
        'self.weighted_mean(updates, "arrays")',
        LOOP,
    ),
    Mutant(
        "fedavg-clients-start-from-initial-values",
        "fedlab/clients/base.py",
        "{**initial, **kept, **received.model}",
        "{**received.model, **initial, **kept}",
        LOOP,
    ),
    Mutant(
        "fedavg-clients-step-uphill",
        "fedlab/training/optimizer.py",
        "torch._foreach_add_(values, grads, alpha=-lr)",
        "torch._foreach_add_(values, grads, alpha=lr)",
        LOOP,
    ),
    Mutant(
        "local-only-shares-the-model",
        "fedlab/strategies/local_only.py",
        "return anatomy_of(model).moving",
        "return ()",
        ("tests/test_personal_methods.py::test_bytes",),
    ),
    Mutant(
        "local-only-clients-keep-nothing",
        "fedlab/clients/base.py",
        "if self.local else {}",
        "if not self.local else {}",
        ("tests/test_personal_methods.py::test_three_rounds_are_those_written_out",),
    ),
    Mutant(
        "local-only-clients-count-by-examples",
        "fedlab/strategies/local_only.py",
        'return "alone"',
        'return "examples"',
        ("tests/test_equal_footing.py::test_one_weighting_is_for_all_methods",),
    ),
    Mutant(
        "centralised-clients-stay-apart",
        "fedlab/strategies/centralised.py",
        "return pooled(partition)",
        "return partition",
        POOLED,
    ),
    Mutant(
        "centralised-tests-a-client-that-was-not-asked-for",
        "fedlab/strategies/centralised.py",
        "float(fraction > 0)",
        "1.0",
        POOLED,
    ),
    Mutant(
        "centralised-labels-are-those-of-other-samples",
        "fedlab/partition/pooling.py",
        "labels=partition.labels[train]",
        "labels=partition.labels",
        HELD_OUT,
    ),
    Mutant(
        "centralised-held-out-clients-train",
        "fedlab/partition/pooling.py",
        "held_out=np.arange(1, len(groups))",
        "held_out=np.arange(0)",
        HELD_OUT,
    ),
)
