"""Mistakes of methods that share styles: CCST."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

CCST = ("tests/test_ccst.py",)

MUTANTS = (
    Mutant(
        "ccst-keeps-the-mean-of-the-image",
        "fedlab/clients/ccst.py",
        'new["deviations"] * plain + new["means"]',
        'new["deviations"] * plain + mean',
        CCST,
    ),
    Mutant(
        "ccst-paints-images-in-their-own-style",
        "fedlab/clients/ccst.py",
        'styles["own"][drawn][:, None, None, None]',
        '(styles["own"] & False)[drawn][:, None, None, None]',
        CCST,
    ),
    Mutant(
        "ccst-style-is-the-mean-of-the-images-deviations",
        "fedlab/clients/ccst.py",
        "pixels.std(dim=1).float()",
        "images.double().flatten(2).std(dim=2).mean(dim=0).float()",
        CCST,
    ),
    Mutant(
        "ccst-ignores-strength",
        "fedlab/clients/ccst.py",
        "batch.inputs.lerp(inputs, self.parameters.strength)",
        "inputs",
        CCST,
    ),
    Mutant(
        "ccst-forgets-whose-style-is-whose",
        "fedlab/clients/ccst.py",
        'own = styles["clients"] == client',
        'own = styles["clients"] == 0',
        CCST,
    ),
)
