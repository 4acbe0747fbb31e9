"""Mistakes of methods against domain skew: FPL, FedHEAL."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FPL = ("tests/test_fpl.py",)
HEAL = ("tests/test_fedheal.py",)

MUTANTS = (
    Mutant(
        "fpl-takes-the-finest-partition",
        "fedlab/models/finch.py",
        'return several[-1] if several and level == "coarsest" else partitions[0]',
        "return partitions[0]",
        FPL,
    ),
    Mutant(
        "fpl-clusters-the-farthest-points",
        "fedlab/models/finch.py",
        "(directions @ directions.T).fill_diagonal_",
        "(-directions @ directions.T).fill_diagonal_",
        FPL,
    ),
    Mutant(
        "fpl-positives-are-summed-outside-of-the-logarithm",
        "fedlab/clients/families/cluster_prototypes.py",
        "scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)",
        "(scores * counted).sum(dim=1) / counted.sum(dim=1)",
        FPL,
    ),
    Mutant(
        "fpl-the-mean-of-prototypes-is-their-sum",
        "fedlab/clients/families/cluster_prototypes.py",
        "sums / counts.clamp(min=1)[:, None]",
        "sums",
        FPL,
    ),
    Mutant(
        "fpl-distance-is-a-sum-over-features",
        "fedlab/clients/fpl.py",
        ".square().mean(dim=1)",
        ".square().sum(dim=1)",
        FPL,
    ),
    Mutant(
        "fpl-draws-classes-without-prototypes-to-zero",
        "fedlab/clients/fpl.py",
        '        apart = apart * prototypes["known"][labels]\n',
        "",
        FPL,
    ),
    Mutant(
        "fpl-prototypes-are-those-of-all-epochs",
        "fedlab/clients/fpl.py",
        "replace(usual, epochs=1, enter=self.sum_up_anew)",
        "replace(usual, epochs=1)",
        FPL,
    ),
    Mutant(
        "fpl-multiplies-by-the-temperature",
        "fedlab/clients/fpl.py",
        "/ self.parameters.tau",
        "* self.parameters.tau",
        FPL,
    ),
    Mutant(
        "fpl-forgets-classes-that-nobody-sent",
        "fedlab/strategies/families/cluster_prototypes.py",
        "fresh if known is None else renewed(known, fresh)",
        "fresh",
        FPL,
    ),
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
)
