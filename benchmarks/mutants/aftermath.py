"""Mistakes of privacy, and of what is done with a trained model."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

PRIVACY = ("tests/test_privacy.py",)
ADAPTATION = ("tests/test_adaptation.py",)
CALIBRATION = ("tests/test_calibration.py",)

MUTANTS = (
    Mutant(
        "privacy-clips-tensor-by-tensor",
        "fedlab/privacy/mechanism.py",
        "alpha=factor",
        "alpha=clipping_factor({name: change[name]}, spec.clipping_norm)",
        PRIVACY,
    ),
    Mutant(
        "privacy-noise-is-not-scaled-with-the-clipping-norm",
        "fedlab/privacy/mechanism.py",
        "spec.noise_multiplier * spec.clipping_norm",
        "spec.noise_multiplier",
        PRIVACY,
    ),
    Mutant(
        "personalise-tunes-every-layer-while-it-probes-the-head",
        "fedlab/adaptation/personalise.py",
        "stage.trained = names",
        "stage.trained = None",
        ADAPTATION,
    ),
    Mutant(
        "personalise-statistics-move-while-the-head-is-probed",
        "fedlab/adaptation/personalise.py",
        "self.task.model.train(self.trained is None)",
        "self.task.model.train()",
        ADAPTATION,
    ),
    Mutant(
        "audit-thresholds-are-means-over-all-samples",
        "fedlab/adaptation/confident_learning.py",
        "np.bincount(labels, own, minlength=classes)",
        "np.bincount(labels, minlength=classes) * chances.mean(axis=0)",
        ADAPTATION,
    ),
    Mutant(
        "calibrate-draws-with-the-eigenvalues",
        "fedlab/adaptation/calibrate.py",
        "geometry.values.sqrt(), generator",
        "geometry.values, generator",
        CALIBRATION,
    ),
    Mutant(
        "calibrate-covariance-is-biased",
        "fedlab/adaptation/calibrate.py",
        "cloud.covariance * (cloud.count / max(cloud.count - 1, 1))",
        "cloud.covariance",
        CALIBRATION,
    ),
    Mutant(
        "calibrate-takes-the-last-client-for-all",
        "fedlab/adaptation/calibrate.py",
        "clouds[label].merge(part) if label in clouds else part",
        "part",
        CALIBRATION,
    ),
    Mutant(
        "calibrate-measures-features-in-training-mode",
        "fedlab/adaptation/calibrate.py",
        "torch.no_grad(), evaluation_mode(task.model)",
        "torch.no_grad()",
        CALIBRATION,
    ),
)
