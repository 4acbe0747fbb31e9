"""Mistakes of clients with different networks."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

MIXED = ("tests/test_per_client.py",)
RUNTIME = "fedlab/engine/execution/mixed_runtime.py"

MUTANTS = (
    Mutant(
        "mixed-every-client-has-the-first-network",
        "fedlab/models/per_client.py",
        "return client % len(self.per_client) if self.clients is None else self.clients[client]",
        "return 0",
        MIXED,
    ),
    Mutant(
        "mixed-networks-are-always-in-turn",
        "fedlab/models/per_client.py",
        "if self.clients is None else self.clients[client]",
        "",
        MIXED,
    ),
    Mutant(
        "mixed-answers-are-in-the-order-of-networks",
        RUNTIME,
        "return [found[k] for k in range(len(clients))]",
        "return list(found.values())",
        MIXED,
    ),
    Mutant(
        "mixed-work-is-that-of-the-first-network",
        "fedlab/engine/execution/round_workload.py",
        "numbers[places, ..., clients].T",
        "numbers[0 * places, ..., clients].T",
        MIXED,
    ),
    Mutant(
        "mixed-a-client-starts-from-the-first-networks-frozen-tensors",
        "fedlab/runs/run_record.py",
        "state, notes = {}, {}",
        "pass",
        MIXED,
    ),
    Mutant(
        "mixed-features-of-any-width-are-averaged",
        "fedlab/strategies/fedproto.py",
        "if len(set(sizes)) > 1:",
        "if len(set(sizes)) > len(sizes):",
        MIXED,
    ),
    Mutant(
        "mixed-networks-go-with-methods-that-send-models",
        "fedlab/engine/model_check.py",
        "scenario.strategy.check_networks([trainer.task.model for trainer in trainers])",
        "pass",
        MIXED,
    ),
    Mutant(
        "mixed-a-clients-model-is-opened-in-the-first-network",
        "fedlab/export/original.py",
        "run.scenario if client is None else run.scenario.of_client(client)",
        "run.scenario.networks[0]",
        MIXED,
    ),
    Mutant(
        "mixed-every-network-keeps-samples-of-its-own",
        RUNTIME,
        "Runtime(each, data, partition, device, samples=self.samples)",
        "Runtime(each, data, partition, device)",
        MIXED,
    ),
)
