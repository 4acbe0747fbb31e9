"""Mistakes of forgetting a client, and of the attack that looks for it."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FORMULAS = ("tests/test_unlearning.py",)
STEPS = ("tests/test_forget_steps.py",)
RUNS = ("tests/test_forget.py",)
SAMPLES = ("tests/test_forget_samples.py",)

MUTANTS = (
    Mutant(
        "forget-reference-adds-the-client-once-more",
        "fedlab/unlearning/reference_model.py",
        "(tensor - share * local[name])",
        "(tensor + share * local[name])",
        FORMULAS,
    ),
    Mutant(
        "forget-reference-is-not-scaled-up",
        "fedlab/unlearning/reference_model.py",
        "local[name]) / (1 - share)",
        "local[name])",
        FORMULAS,
    ),
    Mutant(
        "forget-reference-takes-equal-shares",
        "fedlab/unlearning/reference_model.py",
        'float(metrics["num-examples"]) / float(examples.sum())',
        "1 / len(examples)",
        STEPS,
    ),
    Mutant(
        "forget-ascent-descends",
        "fedlab/unlearning/projected_ascent.py",
        "return -loss, outputs",
        "return loss, outputs",
        STEPS,
    ),
    Mutant(
        "forget-ascent-is-not-projected",
        "fedlab/unlearning/projected_ascent.py",
        "onto = project(moved, self.centre, self.radius)",
        "onto = moved",
        STEPS,
    ),
    Mutant(
        "forget-projection-divides-by-the-squared-distance",
        "fedlab/unlearning/projected_ascent.py",
        "radius / distance)",
        "radius / distance**2)",
        FORMULAS,
    ),
    Mutant(
        "forget-radius-is-squared",
        "fedlab/unlearning/projected_ascent.py",
        "(share * sum(squares) / len(squares)) ** 0.5",
        "share * sum(squares) / len(squares)",
        STEPS,
    ),
    Mutant(
        "forget-ascent-is-not-clipped",
        "fedlab/unlearning/projected_ascent.py",
        "clip_norm=options.clip",
        "clip_norm=None",
        STEPS,
    ),
    Mutant(
        "forget-statistics-move-in-ascent",
        "fedlab/unlearning/projected_ascent.py",
        "self.task.model.eval()",
        "self.task.model.train()",
        STEPS,
    ),
    Mutant(
        "forget-ascent-is-on-all-of-the-clients-samples",
        "fedlab/unlearning/projected_ascent.py",
        "data.labelled & torch.from_numpy(asked.chosen)",
        "data.labelled",
        STEPS,
    ),
    Mutant(
        "laf-extraction-drives-all-away",
        "fedlab/unlearning/label_agnostic.py",
        "gap(*remaining).sum() - gap(*forgotten).sum()",
        "-gap(*remaining).sum() - gap(*forgotten).sum()",
        FORMULAS,
    ),
    Mutant(
        "laf-gap-does-not-saturate",
        "fedlab/unlearning/label_agnostic.py",
        "(squares / (squares + 1)).exp()",
        "squares.exp()",
        FORMULAS,
    ),
    Mutant(
        "laf-alignment-has-no-temperature",
        "fedlab/unlearning/label_agnostic.py",
        "(far / temperature)",
        "far",
        FORMULAS,
    ),
    Mutant(
        "laf-alignment-pulls-the-forgotten-back",
        "fedlab/unlearning/label_agnostic.py",
        "(near - (far",
        "(near + (far",
        FORMULAS,
    ),
    Mutant(
        "laf-autoencoder-has-twice-the-divergence",
        "fedlab/unlearning/feature_autoencoder.py",
        "-0.5 * (1 + log_variance",
        "-1.0 * (1 + log_variance",
        FORMULAS,
    ),
    Mutant(
        "laf-autoencoders-are-averaged-alike",
        "fedlab/unlearning/feature_autoencoder.py",
        "[float(size) for size in sizes]",
        "[1.0 for size in sizes]",
        FORMULAS,
    ),
    Mutant(
        "membership-is-a-high-loss",
        "fedlab/unlearning/membership.py",
        "(members[:, None] < others)",
        "(members[:, None] > others)",
        FORMULAS,
    ),
    Mutant(
        "membership-tells-hard-classes",
        "fedlab/unlearning/membership.py",
        "(own[other_cells] / unseen[other_cells]) / m",
        "np.full(n, 1 / n)",
        FORMULAS,
    ),
    Mutant(
        "membership-interval-knows-no-unseen-samples",
        "fedlab/unlearning/membership.py",
        "ddof=1) / m + spread",
        "ddof=1) / m",
        FORMULAS,
    ),
    Mutant(
        "forget-client-recovers-as-well",
        "fedlab/unlearning/request.py",
        "return sorted([*chosen, client])",
        "return sorted(chosen) or [(client + 1) % 3]",
        RUNS,
    ),
    Mutant(
        "forget-left-out-samples-keep-their-labels",
        "fedlab/partition/partition.py",
        "train[stay], observed[stay], labelled[stay]",
        "train[stay], observed[: stay.sum()], labelled[stay]",
        SAMPLES,
    ),
)
