"""What a model knows of a forgotten client and of the others: accuracy, a membership attack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.adaptation.source_samples import refuse_infinite
from fedlab.adaptation.trained import Trained
from fedlab.data.samples import Samples
from fedlab.records import Tensors, as_tensor
from fedlab.unlearning.membership import Attack, attack
from fedlab.unlearning.request import Request


class Scores(NamedTuple):
    """A model's scores.

    Attributes:
        forgotten: Accuracy on the training samples that are to be forgotten.
        client_tests: Accuracy on the client's test samples; not a number if it has none.
        others_tests: Accuracy on the test samples of the clients that remain.
        membership: A loss threshold on these samples, against test samples.
    """

    forgotten: float
    client_tests: float
    others_tests: float
    membership: Attack


def score(asked: Request, state: Tensors) -> Scores:
    """Tests a model.

    Of the samples those whose labels are known and right are attacked: a wrong label
    has a high loss whether it was trained on or not. They are compared with all test samples of
    their domains and classes, which no client has trained on.

    Args:
        asked: What is to be forgotten.
        state: A full state dict.

    Raises:
        InputError: If the model has diverged.
    """
    trained = asked.trained
    data, partition = trained.runtime.data, trained.runtime.partition
    split = partition[asked.client]
    right_labels = split.labelled & (split.labels == data.train.labels[split.train])
    own = split.train[asked.chosen & right_labels]
    members, right = _losses(trained, state, data.train, own)
    unseen, hits = _losses(trained, state, data.test, np.arange(len(data.test.labels)))
    trained_on, others = (
        pool.domains * len(data.class_names) + pool.labels for pool in (data.train, data.test)
    )
    found = attack(members, trained_on[own], unseen, others)
    tests = [hits[partition[each].test] for each in asked.remaining]
    return Scores(_mean(right), _mean(hits[split.test]), _mean(np.concatenate(tests)), found)


def _losses(
    trained: Trained, state: Tensors, pool: Samples, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of samples of a pool in nats, and whether they are classified right."""
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    outputs = trained.outputs(state, pool, rows)
    refuse_infinite(trained, outputs)
    labels: Tensor = as_tensor(pool.labels[rows])
    with torch.no_grad():
        losses = cross_entropy(outputs.double(), labels, reduction="none")
    return losses.numpy(), (outputs.argmax(dim=1) == labels).double().numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
