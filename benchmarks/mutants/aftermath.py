"""Mistakes of privacy, and of what is done with a trained model."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

PRIVACY = ("tests/test_privacy.py",)
ADAPTATION = ("tests/test_adaptation.py",)
CALIBRATION = ("tests/test_calibration.py",)
ADAPT_TEST = ("tests/test_adapt_test.py",)
LABEL_SHIFT = ("tests/test_label_shift.py",)
TEMPERATURE = ("tests/test_temperature.py",)

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
        "fedlab/adaptation/client_features.py",
        "torch.no_grad(), evaluation_mode(task.model)",
        "torch.no_grad()",
        CALIBRATION,
    ),
    Mutant(
        "batch-statistics-variance-is-unbiased",
        "fedlab/adaptation/batch_statistics.py",
        "batch.var(over, correction=0)",
        "batch.var(over)",
        ADAPT_TEST,
    ),
    Mutant(
        "batch-statistics-mixes-the-other-way-round",
        "fedlab/adaptation/batch_statistics.py",
        "var = alpha * var + (1 - alpha) * layer.running_var",
        "var = (1 - alpha) * var + alpha * layer.running_var",
        ADAPT_TEST,
    ),
    Mutant(
        "tent-predicts-after-its-steps",
        "fedlab/adaptation/tent.py",
        "found.append(outputs.detach().cpu())",
        "found.append(model(batch).float().detach().cpu())",
        ADAPT_TEST,
    ),
    Mutant(
        "tent-maximises-entropy",
        "fedlab/adaptation/tent.py",
        "entropy(outputs).backward()",
        "(-entropy(outputs)).backward()",
        ADAPT_TEST,
    ),
    Mutant(
        "tent-steps-once-per-batch",
        "fedlab/adaptation/tent.py",
        "for step in range(steps):",
        "for step in range(steps - 1, steps):",
        ADAPT_TEST,
    ),
    Mutant(
        "adapt-test-order-is-not-put-back",
        "fedlab/adaptation/domain_by_domain.py",
        "outputs[torch.from_numpy(order)] = found.outputs",
        "outputs[:] = found.outputs",
        ADAPT_TEST,
    ),
    Mutant(
        "label-shift-heeds-the-prior-and-not-its-change",
        "fedlab/adaptation/domain_by_domain.py",
        "torch.from_numpy(prior.weights).log()",
        "torch.from_numpy(prior.test).log()",
        ADAPT_TEST,
    ),
    Mutant(
        "label-shift-confusion-is-transposed",
        "fedlab/adaptation/label_shift.py",
        "predictions * classes + labels",
        "labels * classes + predictions",
        LABEL_SHIFT,
    ),
    Mutant(
        "label-shift-keeps-negative-weights",
        "fedlab/adaptation/label_shift.py",
        ".clip(min=0)",
        "",
        LABEL_SHIFT,
    ),
    Mutant(
        "rlls-has-no-penalty",
        "fedlab/adaptation/label_shift.py",
        "gap + penalty * size",
        "gap + 0 * size",
        LABEL_SHIFT,
    ),
    Mutant(
        "em-forgets-the-source-prior",
        "fedlab/adaptation/label_shift.py",
        "ratios, found = chances / prior, prior",
        "ratios, found = chances, prior",
        LABEL_SHIFT,
    ),
    Mutant(
        "temperature-is-fitted-with-held-out-clients",
        "fedlab/adaptation/source_samples.py",
        "return ~np.isin(owners, trained.runtime.partition.held_out)",
        "return np.isin(owners, owners)",
        TEMPERATURE,
    ),
    Mutant(
        "temperature-is-of-scaled-logits",
        "fedlab/adaptation/score_calibration.py",
        "Calibration(scale * float(np.exp(found[0])), biases.double())",
        "Calibration(float(np.exp(found[0])), biases.double())",
        TEMPERATURE,
    ),
)
