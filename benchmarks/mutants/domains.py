"""Mistakes of methods against domain skew: FedHEAL, F2DC, FedDG-GA; and FedLESAM."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

F2DC = ("tests/test_f2dc.py",)
GA = ("tests/test_feddg_ga.py",)
LESAM = ("tests/test_fedlesam.py",)
HEAL = ("tests/test_fedheal.py",)

MUTANTS = (
    Mutant(
        "fedheal-keeps-what-is-inconsistent",
        "fedlab/clients/fedheal.py",
        "torch.where(up, grown, rounds - grown)",
        "torch.where(up, rounds - grown, grown)",
        HEAL,
    ),
    Mutant(
        "fedheal-remembers-no-directions",
        "fedlab/clients/fedheal.py",
        "now[name] = grown[name] + up.to(torch.int16)",
        "now[name] = grown[name]",
        HEAL,
    ),
    Mutant(
        "fedheal-forgets-how-many-rounds-there-were",
        "fedlab/clients/fedheal.py",
        "now = {ROUNDS: rounds + 1}",
        "now = {ROUNDS: rounds}",
        HEAL,
    ),
    Mutant(
        "fedheal-masks-are-not-in-the-mean",
        "fedlab/strategies/fedheal.py",
        "kept += weight * mask[name]",
        "kept += weight",
        HEAL,
    ),
    Mutant(
        "fedheal-weights-do-not-grow",
        "fedlab/strategies/fedheal.py",
        "table[update.client] = p + step, step",
        "table[update.client] = p, step",
        HEAL,
    ),
    Mutant(
        "fedheal-lengths-are-not-shares",
        "fedlab/strategies/fedheal.py",
        "share = length / total if total else 1 / len(counting)",
        "share = 1 / len(counting)",
        HEAL,
    ),
    Mutant(
        "fedheal-running-mean-of-lengths-is-the-last-one",
        "fedlab/strategies/fedheal.py",
        "step = (1 - beta) * step + beta * share",
        "step = beta * share",
        HEAL,
    ),
    Mutant(
        "fedheal-loses-its-weights-to-the-base",
        "fedlab/strategies/fedheal.py",
        "        if fairness is not None:\n",
        "        if fairness is None:\n",
        HEAL,
    ),
    Mutant(
        "fedheal-an-unchanged-parameter-becomes-zero",
        "fedlab/strategies/fedheal.py",
        "torch.where(kept > 0, change.to(value.dtype), before)",
        "change.to(value.dtype)",
        HEAL,
    ),
    Mutant(
        "f2dc-the-mask-is-the-other-way-round",
        "fedlab/models/feature_split.py",
        "robust, rest = mask * maps, (1 - mask) * maps",
        "rest, robust = mask * maps, (1 - mask) * maps",
        F2DC,
    ),
    Mutant(
        "f2dc-has-noise-in-tests",
        "fedlab/models/feature_split.py",
        "if self.training:",
        "if True:",
        F2DC,
    ),
    Mutant(
        "f2dc-noise-has-one-sign",
        "fedlab/models/feature_split.py",
        "scores + _gumbel(scores) - _gumbel(scores)",
        "scores + _gumbel(scores) + _gumbel(scores)",
        F2DC,
    ),
    Mutant(
        "f2dc-calibrates-without-the-mask",
        "fedlab/models/feature_split.py",
        "rest + (1 - mask) * self.calibration(rest)",
        "rest + self.calibration(rest)",
        F2DC,
    ),
    Mutant(
        "f2dc-pools-the-robust-part-alone",
        "fedlab/models/feature_split.py",
        "self.pool(robust + restored)",
        "self.pool(robust)",
        F2DC,
    ),
    Mutant(
        "f2dc-the-rest-is-judged-for-the-right-class",
        "fedlab/clients/f2dc.py",
        "judged(rest, largest_wrong(outputs, batch.labels))",
        "judged(rest, batch.labels)",
        F2DC,
    ),
    Mutant(
        "f2dc-cosine-pushes-parts-together",
        "fedlab/clients/f2dc.py",
        "judged(robust, batch.labels) + cosine",
        "judged(robust, batch.labels) - cosine",
        F2DC,
    ),
    Mutant(
        "f2dc-weights-have-the-class-count-inverted",
        "fedlab/strategies/f2dc.py",
        "math.sqrt(classes / 2)",
        "math.sqrt(2 / classes)",
        F2DC,
    ),
    Mutant(
        "f2dc-shares-its-modules",
        "fedlab/strategies/f2dc.py",
        'self.modules == "shared"',
        'self.modules == "local"',
        F2DC,
    ),
    Mutant(
        "feddg_ga-weighs-down-whom-the-mean-hurts",
        "fedlab/strategies/feddg_ga.py",
        "float(u.metrics[VALIDATION_RECEIVED]) - trained[u.client]",
        "trained[u.client] - float(u.metrics[VALIDATION_RECEIVED])",
        GA,
    ),
    Mutant(
        "feddg_ga-steps-do-not-shrink",
        "fedlab/strategies/feddg_ga.py",
        "own.step * (1 - (server_round - 1) / rounds)",
        "own.step",
        GA,
    ),
    Mutant(
        "feddg_ga-weights-do-not-sum-to-one",
        "fedlab/strategies/feddg_ga.py",
        "weight / total for client",
        "weight for client",
        GA,
    ),
    Mutant(
        "feddg_ga-clients-count-by-examples",
        "fedlab/strategies/feddg_ga.py",
        "if not sum(weights):",
        "if True:",
        GA,
    ),
    Mutant(
        "feddg_ga-tests-on-training-samples",
        "fedlab/engine/execution/runtime.py",
        "tests = self.client_validations(client)",
        "tests = samples_at(self.data.train, self.partition[client].train, self.device)",
        GA,
    ),
    Mutant(
        "feddg_ga-both-losses-are-of-the-received-model",
        "fedlab/engine/execution/runtime.py",
        "VALIDATION_TRAINED: (sent, after)",
        "VALIDATION_TRAINED: (received, state)",
        GA,
    ),
    Mutant(
        "fedlesam-goes-downhill",
        "fedlab/clients/fedlesam.py",
        "old.get(n, w) - w for",
        "w - old.get(n, w) for",
        LESAM,
    ),
    Mutant(
        "fedlesam-takes-the-gradient-of-where-the-client-is",
        "fedlab/clients/fedlesam.py",
        "gradients(there, batch, phase)",
        "gradients(carry, batch, phase)",
        LESAM,
    ),
    Mutant(
        "fedlesam-keeps-its-own-model",
        "fedlab/clients/fedlesam.py",
        "{name: received.model[name] for name",
        "{name: carry.parameters[name] for name",
        LESAM,
    ),
)
