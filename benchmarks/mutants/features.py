"""Mistakes of methods that make features: GGEUR and FRAug."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

GGEUR = ("tests/test_ggeur.py",)
FRAUG = ("tests/test_fraug.py",)

MUTANTS = (
    Mutant(
        "fraug-non-saturating-makes-the-wanted-class-likely",
        "fedlab/clients/families/doubt.py",
        "others = (1 - outputs.softmax(dim=1) + LEAST).log()",
        "others = (outputs.softmax(dim=1) + LEAST).log()",
        FRAUG,
    ),
    Mutant(
        "fraug-synthesises-one-round-late",
        "fedlab/clients/fraug.py",
        "received.server_round >= self.method.first_round",
        "received.server_round > self.method.first_round",
        FRAUG,
    ),
    Mutant(
        "ggeur-draws-without-spread-where-there-are-prototypes",
        "fedlab/clients/ggeur.py",
        "geometry.around(centres, lengths, generator)",
        "geometry.around(centres, lengths * (not self.ggeur.prototypes), generator)",
        GGEUR,
    ),
    Mutant(
        "ggeur-ignores-scale",
        "fedlab/clients/ggeur.py",
        'geometry.values.sqrt() if self.ggeur.scale == "sqrt_eig" else geometry.values',
        "geometry.values.sqrt()",
        GGEUR,
    ),
    Mutant(
        "ggeur-one-domain-fills-up-to-500",
        "fedlab/strategies/ggeur.py",
        "500 if self.prototypes else 2000",
        "500",
        GGEUR,
    ),
    Mutant(
        "ggeur-draws-are-not-labelled",
        "fedlab/clients/ggeur.py",
        'torch.ones(len(new["labels"])',
        'torch.zeros(len(new["labels"])',
        GGEUR,
    ),
    Mutant(
        "ggeur-draws-around-the-own-prototype-too",
        "fedlab/clients/ggeur.py",
        "others & (prototypes",
        "(prototypes",
        GGEUR,
    ),
    Mutant(
        "ggeur-leaves-out-the-covariance-between-clients",
        "fedlab/models/eigenspace.py",
        "within + between",
        "within",
        GGEUR,
    ),
    Mutant(
        "fraug-normal-noise-is-never-drawn",
        "fedlab/clients/fraug.py",
        'torch.rand if self.method.noise == "uniform" else torch.randn',
        "torch.rand",
        FRAUG,
    ),
    Mutant(
        "fraug-forgets-class-means-between-rounds",
        "fedlab/clients/fraug.py",
        '"memory": extra["memory"]',
        '"memory": self.first_state()["memory"]',
        FRAUG,
    ),
    Mutant(
        "fraug-forgets-the-transformation-network-between-rounds",
        "fedlab/clients/fraug.py",
        'kept = {"rtnet": extra["rtnet"], ',
        "kept = {",
        FRAUG,
    ),
    Mutant(
        "fraug-draws-the-generator-towards-the-client",
        "fedlab/clients/fraug.py",
        "distance(made, far_from), alpha=-weight",
        "distance(made, far_from), alpha=weight",
        FRAUG,
    ),
    Mutant(
        "fraug-synthetic-share-is-not-capped",
        "fedlab/clients/fraug.py",
        "min(ratio, MOST_SYNTHETIC)",
        "ratio",
        FRAUG,
    ),
    Mutant(
        "fraug-generator-learns-the-samples-classes",
        "fedlab/clients/families/wanted_classes.py",
        "[dealt, own, dealt, dealt, own]",
        "[dealt, own, own, dealt, own]",
        FRAUG,
    ),
    Mutant(
        "fraug-kernels-are-as-wide-as-all-pairs-together",
        "fedlab/models/distances.py",
        "rate * pairs for rate in RATES",
        "rate for rate in RATES",
        FRAUG,
    ),
    Mutant(
        "fraug-minimises-entropy",
        "fedlab/clients/fraug.py",
        "return negative_entropy(outputs)",
        "return -negative_entropy(outputs)",
        FRAUG,
    ),
)
