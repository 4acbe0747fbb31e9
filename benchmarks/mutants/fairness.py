"""Mistakes of methods that weigh clients by their losses, or hold several global models."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FAIR = ("tests/test_fair_methods.py",)
IFCA = ("tests/test_ifca.py",)

MUTANTS = (
    Mutant(
        "qfedavg-power-is-of-the-derivative",
        "fedlab/clients/qfedavg.py",
        "power = loss**q * measured",
        "power = loss ** (q - 1) * measured",
        FAIR,
    ),
    Mutant(
        "qfedavg-scale-leaves-out-q",
        "fedlab/clients/qfedavg.py",
        "q * loss ** (q - 1) * square",
        "loss ** (q - 1) * square",
        FAIR,
    ),
    Mutant(
        "qfedavg-change-is-not-squared",
        "fedlab/clients/qfedavg.py",
        "exact(each).double().square().sum()",
        "exact(each).double().sum()",
        FAIR,
    ),
    Mutant(
        "qfedavg-steps-uphill",
        "fedlab/strategies/qfedavg.py",
        "change, -1 / scale",
        "change, 1 / scale",
        FAIR,
    ),
    Mutant(
        "received-loss-is-measured-in-training-mode",
        "fedlab/clients/families/received_loss.py",
        "evaluation_mode(self.task.model):",
        "torch.no_grad():",
        FAIR,
    ),
    Mutant(
        "received-loss-is-measured-after-training",
        "fedlab/clients/families/received_loss.py",
        "[Phase(trained=()), *super().phases()]",
        "[*super().phases(), Phase(trained=())]",
        FAIR,
    ),
    Mutant(
        "afl-the-iterate-keeps-the-mean-of-singular-vectors",
        "fedlab/strategies/afl.py",
        'for name in ("arrays", "iterate")}',
        'for name in ("arrays",)}',
        FAIR,
    ),
    Mutant(
        "afl-weights-fall-with-the-loss",
        "fedlab/strategies/afl.py",
        "weights + self.parameters.gamma",
        "weights - self.parameters.gamma",
        FAIR,
    ),
    Mutant(
        "afl-sends-the-mean-down",
        "fedlab/strategies/afl.py",
        'self.state.get("iterate", self.state["arrays"])',
        'self.state["arrays"]',
        FAIR,
    ),
    Mutant(
        "afl-weights-start-anew-in-every-round",
        "fedlab/strategies/afl.py",
        "known = self.mixture()\n        return",
        "known = {}\n        return",
        FAIR,
    ),
    Mutant(
        "afl-projection-forgets-the-total",
        "fedlab/strategies/afl.py",
        "falling.cumsum(0) - total",
        "falling.cumsum(0) - 1",
        FAIR,
    ),
    Mutant(
        "ifca-chooses-the-worst-model",
        "fedlab/clients/ifca.py",
        "loss < best, number",
        "loss > best, number",
        IFCA,
    ),
    Mutant(
        "ifca-of-equals-takes-the-last",
        "fedlab/clients/ifca.py",
        "loss < best, number",
        "loss <= best, number",
        IFCA,
    ),
    Mutant(
        "ifca-always-trains-the-first-model",
        "fedlab/clients/ifca.py",
        "carry.extra[record], choice == number",
        "carry.extra[record], choice == -1",
        IFCA,
    ),
    Mutant(
        "ifca-tests-the-first-model",
        "fedlab/clients/ifca.py",
        "models[int(least(sums))]",
        "models[0]",
        IFCA,
    ),
    Mutant(
        "ifca-models-start-alike",
        "fedlab/strategies/ifca.py",
        "other = redrawn(self.model)",
        "other = self.model",
        IFCA,
    ),
    Mutant(
        "ifca-averages-all-models-into-each",
        "fedlab/strategies/ifca.py",
        "if choice == number]",
        "if choice >= 0]",
        IFCA,
    ),
    Mutant(
        "ifca-sends-one-model-to-tests",
        "fedlab/strategies/ifca.py",
        'choose one for tests, too."""\n        return self.broadcast(server_round)',
        'choose one for tests, too."""\n        return super().sent_to_test(server_round)',
        IFCA,
    ),
)
