"""Mistakes of methods with several prototypes of a class: FPL and FedPLVM."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FPL = ("tests/test_fpl.py",)
PLVM = ("tests/test_fedplvm.py",)

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
        "fedlab/clients/families/prototypes.py",
        "scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)",
        "(scores * counted).sum(dim=1) / counted.sum(dim=1)",
        FPL,
    ),
    Mutant(
        "fpl-the-mean-of-prototypes-is-their-sum",
        "fedlab/clients/families/prototypes.py",
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
        "fpl-forgets-classes-that-no-client-sent",
        "fedlab/strategies/families/prototypes.py",
        '"prototypes": self.renewed(fresh)',
        '"prototypes": fresh',
        FPL,
    ),
    Mutant(
        "fedplvm-cosines-are-not-raised",
        "fedlab/clients/fedplvm.py",
        "near.pow(self.parameters.alpha)",
        "near",
        PLVM,
    ),
    Mutant(
        "fedplvm-corrects-half-as-much",
        "fedlab/clients/fedplvm.py",
        "+ 2 * corrected.mean()",
        "+ corrected.mean()",
        PLVM,
    ),
    Mutant(
        "fedplvm-sends-small-clusters",
        "fedlab/clients/fedplvm.py",
        "[groups.bincount() >= smallest]",
        "",
        PLVM,
    ),
    Mutant(
        "fedplvm-gathers-features-in-training-mode",
        "fedlab/clients/fedplvm.py",
        "        self.task.model.eval()\n",
        "",
        PLVM,
    ),
    Mutant(
        "fedplvm-sends-class-means",
        "fedlab/clients/fedplvm.py",
        "if int(groups.max()) >= MOST_CLUSTERS:",
        "if True:",
        PLVM,
    ),
    Mutant(
        "fedplvm-cosines-may-be-zero",
        "fedlab/clients/fedplvm.py",
        ".clamp(min=LEAST_COSINE, max=1)",
        "",
        PLVM,
    ),
)
