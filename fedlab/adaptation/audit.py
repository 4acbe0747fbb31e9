"""A label audit of a run's clients: which of their labels are probably wrong.

Each client predicts its own samples out of sample: with its model's features and a linear
classifier that is fitted on the rest of its samples, fold by fold. Only the result of
`fedlab.adaptation.confident_learning.threshold_sums` leaves a client.

The classifiers have not seen the sample, but the features come from a network that was trained on
the very labels that are audited: wrong labels that it has memorised look right. Mistakes of a
classifier look like wrong labels: an estimate is as reliable as `Audit.accuracy`, which is
reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedlab import rng
from fedlab.adaptation import confident_learning as confident
from fedlab.adaptation.trained import (
    Trained,
    open_trained,
    refuse_without_classes,
    refuse_without_labels,
)
from fedlab.data.client_data import ClientData
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.runs.client_names import with_owners
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

Progress = Callable[[int, int], None]
"""(clients done, clients in all)."""

LEAST_ACCURACY = 0.5
"""Out-of-sample accuracy below which an audit is not to be relied on."""


@dataclass(frozen=True)
class Audit:
    """The result of a label audit.

    Attributes:
        samples: One row per labelled training sample: ``client``, ``sample`` (index into the
            training pool), ``given``, ``suggested`` (-1 if no class is confident),
            ``confidence`` (chance of the given label), ``flagged``, and ``true``, which only a
            simulation knows; where clients are owners with names, ``owner``, too.
        thresholds: t_j of all clients together, shape (classes,).
        joint: Estimated joint distribution of given and true labels, shape (classes, classes).
        accuracy: Share of the samples for which the out-of-sample classifiers give the label that
            was given.
    """

    samples: pandas.DataFrame
    thresholds: np.ndarray
    joint: np.ndarray
    accuracy: float

    @property
    def doubt(self) -> str:
        """Why the estimate is unreliable, in words; empty where it is not.

        Mistakes of inaccurate classifiers count as wrong labels, and the estimated share of wrong
        labels cannot exceed that of labels with which classifiers disagree.
        """
        if self.accuracy < LEAST_ACCURACY:
            return (
                f"the classifiers give the label that was given to only {self.accuracy:.0%} of the "
                "samples that they have not seen, so that what they flag is mostly their own "
                "mistakes; train longer, with more samples or a better network, and audit again"
            )
        if self.noise > 1 - self.accuracy:
            return (
                f"the classifiers disagree with {1 - self.accuracy:.0%} of the labels, which is "
                "less than the estimate; look at the flagged samples themselves"
            )
        return ""

    @property
    def noise(self) -> float:
        """Estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))

    @cached_property
    def _wrong(self) -> pandas.Series:
        return self.samples.given != self.samples.true

    @property
    def precision(self) -> float:
        """Share of flagged labels that are wrong; not a number if none is flagged."""
        return float(self._wrong[self.samples.flagged].mean())

    @property
    def recall(self) -> float:
        """Share of wrong labels that are flagged; not a number if none is wrong."""
        return float(self.samples.flagged[self._wrong].mean())


def audit(run: Run, *, folds: int = 5, progress: Progress | None = None) -> Audit:
    """Audits the labels of all clients of a finished run.

    The features are those of a network that was trained on the labels that are audited.

    Args:
        run: The run; its clients' own models make the features.
        folds: Parts that a client's samples are divided into; each is predicted by a classifier
            fitted on the others.
        progress: Called after every client.

    Returns:
        The audit; flagged samples are those that confidently have another class than given.

    Raises:
        InputError: If the run has not finished.
    """
    import pandas

    refuse_without_classes(run, "an audit looks for samples whose class is wrong")
    refuse_without_labels(run, "an audit is of the label of each sample")
    trained = open_trained(run)
    classes = len(trained.runtime.data.class_names)
    clients = len(trained.runtime.partition)
    tables, predictions, right = [], [], 0
    for client in range(clients):
        rows, labels, chances = _client(trained, client, folds, classes)
        predictions.append((labels, chances))
        true = trained.runtime.data.train.labels[rows]
        right += int((chances.argmax(axis=1) == labels).sum())
        own = chances[np.arange(len(labels)), labels]
        columns = {"client": client, "sample": rows, "given": labels, "confidence": own}
        tables.append(pandas.DataFrame({**columns, "true": true}))
        if progress:
            progress(client + 1, clients)

    sent = [confident.threshold_sums(chances, labels) for labels, chances in predictions]
    counts, sums = (np.sum(parts, axis=0) for parts in zip(*sent, strict=True))
    limits = confident.thresholds(counts, sums)
    joint = np.zeros((classes, classes), dtype=np.int64)
    for table, (labels, chances) in zip(tables, predictions, strict=True):
        suggested = confident.suggested_labels(chances, limits)
        joint += confident.confident_joint(suggested, labels, classes)
        table["suggested"] = suggested
        table["flagged"] = (suggested >= 0) & (suggested != labels)
    samples = with_owners(pandas.concat(tables, ignore_index=True), run.client_names)
    accuracy = right / len(samples) if len(samples) else math.nan
    return Audit(samples, limits, confident.calibrated_joint(joint, counts), accuracy)


def _client(
    trained: Trained, client: int, folds: int, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool indices of a client's labelled samples, their labels, and predicted probabilities."""
    samples = trained.runtime.client_data(client)
    known = samples.labelled.numpy()
    labels = samples.labels.cpu().numpy()[known]
    features = _features(trained, trained.model(client), samples)[known]
    seed = rng.seed_of(trained.run.scenario.seed, "audit", client) % 2**32
    return (
        trained.runtime.partition[client].train[known],
        labels,
        out_of_sample(features, labels, classes, folds, seed),
    )


@torch.no_grad()
def _features(trained: Trained, state: Tensors, samples: ClientData) -> np.ndarray:
    """The head's input for every training sample, float32 of shape (n, features)."""
    runtime = trained.runtime
    task = runtime.trainer.task
    parameters, buffers = task.split({n: channels_last(t) for n, t in state.items()})
    task.model.eval()
    parts = []
    for inputs in samples.inputs.split(runtime.scenario.evaluation.batch_size):
        batch = channels_last(runtime.preprocess.inputs(inputs))
        parts.append(task.features_and_outputs(parameters, buffers, batch)[0])
    return torch.cat(parts).cpu().numpy()


def out_of_sample(
    features: np.ndarray, labels: np.ndarray, classes: int, folds: int, seed: int
) -> np.ndarray:
    """Class probabilities by linear classifiers that have not seen the sample.

    Args:
        features: Shape (n, features).
        labels: int64 of shape (n,).
        classes: Number of classes.
        folds: Number of parts; fewer where a client has fewer samples.
        seed: Seed of the division.

    Returns:
        float64 of shape (n, classes). A client with one sample or one class cannot be predicted:
        it gets equal chances.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chances = np.full((len(labels), classes), 1 / classes)
    if len(np.unique(labels)) < 2:
        return chances
    parts = KFold(min(folds, len(labels)), shuffle=True, random_state=seed)
    for seen, unseen in parts.split(features):
        if len(np.unique(labels[seen])) < 2:
            continue
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        classifier.fit(features[seen], labels[seen])
        chances[unseen] = 0.0
        chances[np.ix_(unseen, classifier.classes_)] = classifier.predict_proba(features[unseen])
    return chances
