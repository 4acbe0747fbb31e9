"""What clients have to do in a round, and on what devices: known before any of them trains."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from fedlab.clients.base import LocalHalf
from fedlab.data.samples import FederatedData
from fedlab.engine.runtime import build_local_half
from fedlab.models.norms import has_batch_norm, learns_from_one
from fedlab.records import as_tensor
from fedlab.scenario import Scenario
from fedlab.scenarios.fleet import Fleet, make_fleet
from fedlab.scenarios.partition import Partition


def samples_per_round(
    half: LocalHalf,
    partition: Partition,
    batch_size: int | Literal["full"],
    inputs: torch.Tensor,
) -> np.ndarray:
    """Samples that each client reads in all steps of a round (`Schedule.seen`).

    What a method adds to a client's samples (`LocalHalf.training_data`) is not counted.

    Args:
        half: The method's local half, which says what the phases of a round are.
        partition: Which samples belong to which client.
        batch_size: Samples per step.
        inputs: Some samples, of which only the shape matters.

    Returns:
        int64 of shape (clients,).
    """
    smallest = 2 if has_batch_norm(half.task.model) else 1
    fewest = 0 if learns_from_one(half.task.model, inputs) else 1
    total = np.zeros(len(partition), dtype=np.int64)
    for phase in half.phases():
        rows = _rows(partition, phase.split)
        rows = np.where(rows > fewest, rows, 0)
        total += _seen(rows, batch_size, phase.epochs, phase.steps, smallest)
    return total


def _rows(partition: Partition, split: Literal["all", "labelled", "unlabelled"]) -> np.ndarray:
    """How many samples of a split each client has."""
    sizes = np.diff(partition.train_offsets)
    if split == "all":
        return sizes
    known = np.concatenate([[0], np.cumsum(partition.labelled)])[partition.train_offsets]
    labelled = np.diff(known)
    return labelled if split == "labelled" else sizes - labelled


def _seen(
    rows: np.ndarray,
    batch_size: int | Literal["full"],
    epochs: int,
    steps: int | None,
    smallest: int,
) -> np.ndarray:
    """Samples of one phase; in numbers what `fedlab.engine.schedule.batches` draws."""
    size = np.maximum(rows, 1) if batch_size == "full" else np.full_like(rows, batch_size)
    rest = rows % size
    left_out = np.where((rest < smallest) & (rows > size), rest, 0)
    a_pass = rows - left_out
    if steps is None:
        return epochs * a_pass
    steps_in_pass = np.maximum(-(-a_pass // size), 1)
    passes, more = np.divmod(steps, steps_in_pass)
    return passes * a_pass + np.minimum(more * size, a_pass)


def devices_of(scenario: Scenario, data: FederatedData, partition: Partition) -> Fleet:
    """The devices of a scenario's clients.

    Raises:
        InputError: If the profiles do not fit the data's domains.
    """
    half = build_local_half(scenario, data, torch.device("cpu"))
    batch_size, inputs = scenario.training.batch_size, as_tensor(data.train.inputs[:1])
    samples = samples_per_round(half, partition, batch_size, inputs)
    clients, domains = len(partition), len(data.domain_names)
    owner = np.repeat(np.arange(clients), np.diff(partition.train_offsets))
    cells = owner * domains + data.train.domains[partition.train]
    counts = np.bincount(cells, minlength=clients * domains).reshape(clients, domains)
    most = [data.domain_names[index] for index in counts.argmax(axis=1)]
    return make_fleet(scenario.devices, scenario.seed, samples, most, data.domain_names)
