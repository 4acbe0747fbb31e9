"""Mistakes of methods that share styles: CCST, PARDON."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

CCST = ("tests/test_ccst.py",)
PARDON = ("tests/test_pardon.py",)
FEATURES = ("tests/test_styles_of_features.py",)

MUTANTS = (
    Mutant(
        "ccst-keeps-the-mean-of-the-image",
        "fedlab/clients/families/styles.py",
        "deviations[..., None, None] * plain + means[..., None, None]",
        "deviations[..., None, None] * plain + mean",
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
    Mutant(
        "pardon-images-count-the-same-in-a-style",
        "fedlab/clients/pardon.py",
        "labels = cluster_labels(pixels.flatten(start_dim=1))",
        "labels = torch.zeros(len(pixels))",
        PARDON,
    ),
    Mutant(
        "pardon-deviation-forgets-the-mean",
        "fedlab/clients/pardon.py",
        "(squares - means.square())",
        "squares",
        PARDON,
    ),
    Mutant(
        "pardon-style-is-the-mean-of-clusters",
        "fedlab/strategies/pardon.py",
        "centres.quantile(0.5, dim=0)",
        "centres.mean(dim=0)",
        PARDON,
    ),
    Mutant(
        "pardon-takes-the-coarsest-partition-of-clients",
        "fedlab/strategies/pardon.py",
        'cluster_labels(styles, "first")',
        'cluster_labels(styles, "coarsest")',
        PARDON,
    ),
    Mutant(
        "pardon-pushes-the-same-class-away",
        "fedlab/clients/pardon.py",
        "(labels[:, None] != labels)",
        "(labels[:, None] == labels)",
        PARDON,
    ),
    Mutant(
        "pardon-features-keep-their-length",
        "fedlab/clients/pardon.py",
        "normalize(features, dim=1), normalize(painted, dim=1)",
        "features, painted",
        PARDON,
    ),
    Mutant(
        "pardon-pushes-what-is-not-painted",
        "fedlab/clients/pardon.py",
        "positive[some], positive[drawn]",
        "positive[some], anchor[drawn]",
        PARDON,
    ),
    Mutant(
        "pardon-learns-from-painted-images",
        "fedlab/clients/pardon.py",
        "others, _ = task",
        "others, outputs = task",
        PARDON,
    ),
    Mutant(
        "pardon-keeps-the-length-of-one-kind-alone",
        "fedlab/clients/pardon.py",
        "(features.square() + others.square())",
        "features.square()",
        PARDON,
    ),
    Mutant(
        "pardon-ignores-strength",
        "fedlab/clients/pardon.py",
        "batch.inputs.lerp(restyled(batch.inputs, means, deviations), own.strength)",
        "restyled(batch.inputs, means, deviations)",
        PARDON,
    ),
    Mutant(
        "pardon-ignores-the-weight-of-triplets",
        "fedlab/clients/pardon.py",
        "own.contrast * triplets",
        "triplets",
        PARDON,
    ),
    Mutant(
        "styles-of-features-are-of-the-clients-own-first-model",
        "fedlab/clients/families/styles.py",
        "self.task.split(self.personal_model(received, {}))",
        "self.task.split(self.task.initial)",
        FEATURES,
    ),
    Mutant(
        "styles-of-features-are-measured-in-training-mode",
        "fedlab/clients/families/styles.py",
        "self.task.model.eval()",
        "self.task.model.train()",
        FEATURES,
    ),
    Mutant(
        "styles-of-features-ignore-strength",
        "fedlab/clients/families/styles.py",
        "own.lerp(change(own), self.parameters.strength)",
        "change(own)",
        FEATURES,
    ),
    Mutant(
        "styles-of-features-forget-that-passes-differ",
        "fedlab/clients/ccst.py",
        "torch.stack(squares) + counts * (every - mean).square()",
        "torch.stack(squares)",
        FEATURES,
    ),
    Mutant(
        "styles-of-features-restyle-images-as-well",
        "fedlab/clients/pardon.py",
        "if self.reads_features:",
        "if False:",
        FEATURES,
    ),
)
