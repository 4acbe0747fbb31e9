"""Whose a sample is, in place of its class: what clients without any label can learn together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.partition import Partition

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


def check_client_labels(scenario: Experiment) -> None:
    """Refuses what is said of classes that no client knows.

    Raises:
        ValueError: With the key and the remedy.
    """
    spec = scenario.partition
    said = {
        "label_budget": spec.label_budget.share < 1,
        "label_noise": spec.label_noise.name != "none",
        "label_proportions": spec.label_proportions is not None,
        "held_out_clients": spec.held_out_clients is not None,
    }
    for key, is_said in said.items():
        if is_said:
            raise ValueError(
                f"partition.{key}: with partition.known_label: client, all that is known of a "
                "sample is which client has it, and all of them are learnt; leave one of the two "
                "out"
            )
    if scenario.data.target.name != "class":
        raise ValueError(
            "partition.known_label: client takes the place of classes, and data.target is "
            f"'{scenario.data.target.name}'; leave one of the two out"
        )


def with_client_labels(
    data: FederatedData, partition: Partition
) -> tuple[FederatedData, Partition]:
    """The same samples with the index of the client as their class, in training and in tests.

    Args:
        data: The pooled samples.
        partition: Who has which of them.

    Raises:
        InputError: If a test sample belongs to no client, or a client is held out.
    """
    if len(partition.held_out):
        raise InputError(
            "partition.known_label: client needs training samples of every client, and "
            f"{len(partition.held_out)} are held out; keep none out"
        )
    owner = np.full(len(data.train), -1)
    owner[partition.train] = _owners(partition.train_offsets)
    labels = owner[partition.train]
    if len(partition.validation_offsets):
        owner[partition.validation] = _owners(partition.validation_offsets)
    tested = np.full(len(data.test), -1)
    tested[partition.test] = _owners(partition.test_offsets)
    if lone := int((tested < 0).sum()):
        raise InputError(
            f"partition.known_label: client: {lone} test samples are no client's, and are of no "
            "class then; have no data.unseen_domains, and let clients have samples of all classes "
            "between them"
        )
    names = tuple(f"client {partition.name(client)}" for client in range(len(partition)))
    train = replace(data.train, labels=owner.clip(min=0))
    test = replace(data.test, labels=tested)
    return (
        replace(data, train=train, test=test, class_names=names),
        replace(partition, labels=labels),
    )


def _owners(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
