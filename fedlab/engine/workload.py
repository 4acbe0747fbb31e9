"""What clients have to do in a round, and on what devices: known before any of them trains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from fedlab.clients.base import LocalHalf
from fedlab.data.samples import FederatedData
from fedlab.engine.passes import BatchSize
from fedlab.engine.runtime import build_local_half
from fedlab.engine.schedule import plan_phase
from fedlab.models.norms import learns_from_one
from fedlab.records import as_tensor
from fedlab.scenario import Scenario
from fedlab.scenarios.fleet import Fleet, make_fleet
from fedlab.scenarios.partition import Partition


class Work(NamedTuple):
    """What each client does in a round.

    Attributes:
        steps: Optimiser steps, int64 of shape (clients,).
        samples: Samples read in all of them together, int64 of shape (clients,).
    """

    steps: np.ndarray
    samples: np.ndarray


def work_per_round(
    half: LocalHalf, partition: Partition, batch_size: BatchSize, inputs: torch.Tensor
) -> Work:
    """What each client does in a round; in numbers what `fedlab.engine.schedule` draws.

    What a method adds to a client's samples (`LocalHalf.training_data`) is not counted.

    Args:
        half: The method's local half, which says what the phases of a round are.
        partition: Which samples belong to which client.
        batch_size: Samples per step.
        inputs: Some samples, of which only the shape matters.
    """
    alone = learns_from_one(half.task.model, inputs)
    known = np.concatenate([[0], np.cumsum(partition.labelled)])[partition.train_offsets]
    labelled = np.diff(known)
    unlabelled = np.diff(partition.train_offsets) - labelled
    kinds, places = np.unique(np.stack([labelled, unlabelled]), axis=1, return_inverse=True)
    totals = np.zeros((2, kinds.shape[1]), dtype=np.int64)
    for kind, (known_samples, others) in enumerate(kinds.T.tolist()):
        for phase in half.phases():
            plan = plan_phase(
                half, phase, known_samples, others, batch_size=batch_size, learns_from_one=alone
            )
            totals[:, kind] += plan.steps, plan.samples
    return Work(*totals[:, places.ravel()])


def devices_of(scenario: Scenario, data: FederatedData, partition: Partition) -> Fleet:
    """The devices of a scenario's clients.

    Raises:
        InputError: If the profiles do not fit the data's domains.
    """
    half = build_local_half(scenario, data, torch.device("cpu"))
    batch_size, inputs = scenario.training.batch_size, as_tensor(data.train.inputs[:1])
    samples = work_per_round(half, partition, batch_size, inputs).samples
    clients, domains = len(partition), len(data.domain_names)
    owner = np.repeat(np.arange(clients), np.diff(partition.train_offsets))
    cells = owner * domains + data.train.domains[partition.train]
    counts = np.bincount(cells, minlength=clients * domains).reshape(clients, domains)
    most = [data.domain_names[index] for index in counts.argmax(axis=1)]
    return make_fleet(scenario.devices, scenario.seed, samples, most, data.domain_names)
