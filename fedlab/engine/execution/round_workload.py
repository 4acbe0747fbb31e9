"""The clients' work in a round and their devices, computed before training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from fedlab.clients.base import ClientTrainer
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.batch_schedule import plan_phase
from fedlab.engine.execution.passes import BatchSize
from fedlab.errors import InputError
from fedlab.models.norms import learns_from_one
from fedlab.models.per_client import PerClient
from fedlab.partition.partition import Partition
from fedlab.scenario import Scenario
from fedlab.virtual_time.device_population import DevicePopulation, make_population

log = logging.getLogger("fedlab")


class RoundWorkload(NamedTuple):
    """Every client's work in a round.

    Attributes:
        steps: Optimiser steps, int64 of shape (clients,).
        samples: Samples read in all phases together, int64 of shape (clients,), also in those that
            only measure.
        own: Of these, those of a phase's own split, int64 of shape (phases, clients).
        beside: The unlabelled ones that are read beside them, of the same shape.
        labelled: Those of optimiser steps whose label may be used, of shape (clients,); the
            expected number where a phase reads labelled and unlabelled samples alike.
    """

    steps: np.ndarray
    samples: np.ndarray
    own: np.ndarray
    beside: np.ndarray
    labelled: np.ndarray


def work_per_round(
    trainer: ClientTrainer, partition: Partition, batch_size: BatchSize, inputs: torch.Tensor
) -> RoundWorkload:
    """Every client's numbers of steps and samples, as in the schedules of `batch_schedule`.

    Samples that a method adds (`ClientTrainer.training_data`) are not counted.

    Args:
        trainer: The method's client trainer, for the phases of a round.
        partition: Which samples belong to which client.
        batch_size: Samples per step.
        inputs: Some samples, of which only the shape matters.
    """
    known = np.concatenate([[0], np.cumsum(partition.labelled)])[partition.train_offsets]
    labelled = np.diff(known)
    unlabelled = np.diff(partition.train_offsets) - labelled
    kinds, places = np.unique(np.stack([labelled, unlabelled]), axis=1, return_inverse=True)
    alone = bool((kinds != 1).all()) or learns_from_one(trainer.task.model, inputs)
    phases = trainer.phases()
    steps, taught = np.zeros(kinds.shape[1], dtype=np.int64), np.zeros(kinds.shape[1])
    own, beside = np.zeros((2, len(phases), kinds.shape[1]), dtype=np.int64)
    for kind, (known_samples, others) in enumerate(kinds.T.tolist()):
        share = known_samples / max(known_samples + others, 1)
        for place, phase in enumerate(phases):
            plan = plan_phase(
                trainer, phase, known_samples, others, batch_size=batch_size, learns_from_one=alone
            )
            own[place, kind] = plan.own.samples
            beside[place, kind] = plan.beside.samples
            if phase.learns:
                steps[kind] += plan.steps
                part = {"labelled": 1.0, "all": share, "unlabelled": 0.0}[phase.split]
                taught[kind] += part * plan.own.samples
    samples = own.sum(axis=0) + beside.sum(axis=0)
    found = (steps, samples, own, beside, taught)
    return RoundWorkload(*(numbers[..., places.ravel()] for numbers in found))


def of_networks(scenario: Scenario, works: Sequence[RoundWorkload]) -> RoundWorkload:
    """Every client's work with its own network.

    Args:
        scenario: The experiment, with one network or several.
        works: What every client would have to do with each of them.
    """
    if not isinstance(scenario.model, PerClient):
        return works[0]
    clients = np.arange(len(works[0].steps))
    places = np.array([scenario.model.place_of(client) for client in clients.tolist()])
    every = (np.stack(numbers) for numbers in zip(*works, strict=True))
    return RoundWorkload(*(numbers[places, ..., clients].T for numbers in every))


def check_work(
    scenario: Scenario, trainer: ClientTrainer, partition: Partition, work: RoundWorkload
) -> None:
    """Refuses a run in which no client can take a step, and warns of clients that cannot.

    Also warns of short last steps, which can disturb personal models. Not checked: methods that
    add samples (`ClientTrainer.training_data`), and trainers without phases that learn, whose
    clients take no steps by intention.

    Raises:
        InputError: If no client can take a step.
    """
    if type(trainer).training_data is not ClientTrainer.training_data:
        return
    if not any(phase.learns for phase in trainer.phases()):
        log.warning("the method has no phases that learn: its clients take no steps")
        return
    clients = len(partition) - len(partition.held_out)
    idle = np.setdiff1d(np.flatnonzero(work.steps == 0), partition.held_out)
    if len(idle):
        why, remedy = _why_idle(trainer, partition, int(idle[0]))
        who = f"{partition.label(int(idle[0]))} {why}"
        if len(idle) == clients:
            raise InputError(
                f"none of the {clients} clients can take a step, so that the run would learn "
                f"nothing: {who}, for one; {remedy}"
            )
        log.warning(
            "%d of %d clients can take no step and are tested without having learnt: %s, for one",
            len(idle),
            clients,
            who,
        )
    size = scenario.training.batch_size
    if size == "full" or trainer.task.remainder != "keep":
        return
    rest = np.diff(partition.train_offsets) % size
    short = int(((rest > 0) & (rest < size / 4) & (work.steps > 1)).sum())
    if short and trainer.local:
        log.warning(
            "%d of %d clients end each pass with a step on less than a quarter of a batch, which "
            "can throw what they keep for themselves; training.remainder=merge, or drop, ends "
            "with a full one",
            short,
            clients,
        )


def _why_idle(trainer: ClientTrainer, partition: Partition, client: int) -> tuple[str, str]:
    """Why a client takes no step, and the remedy."""
    known = partition[client].labelled
    if not len(known):
        return "has no training samples", "use fewer clients, or a milder skew"
    if len(known) == 1:
        return (
            "has a single training sample, which the network cannot normalise",
            "use fewer clients, or model.norm=group",
        )
    if len(partition.bags) and not known.any():
        bag = trainer.task.target.unit(len(known))
        return (
            f"has {len(known)} training samples and no bag of {bag}",
            "use a smaller partition.label_proportions.bag_size, or fewer clients",
        )
    if not known.any() and all(phase.split == "labelled" for phase in trainer.phases()):
        return (
            f"has {len(known)} training samples and the label of none",
            "raise partition.label_budget.share, or choose a method that learns without labels",
        )
    return (
        f"has {len(known)} training samples, and the method's phases use none of them",
        "look at the samples and steps that its client trainer's `phases` ask for",
    )


def devices_of(
    scenario: Scenario, data: FederatedData, partition: Partition, work: RoundWorkload
) -> DevicePopulation:
    """The devices of a scenario's clients.

    Args:
        scenario: The experiment.
        data: Its samples.
        partition: Which samples belong to which client.
        work: Every client's work in a round.

    Raises:
        InputError: If the profiles do not fit the data's domains.
    """
    clients, domains = len(partition), len(data.domain_names)
    owner = np.repeat(np.arange(clients), np.diff(partition.train_offsets))
    cells = owner * domains + data.train.domains[partition.train]
    counts = np.bincount(cells, minlength=clients * domains).reshape(clients, domains)
    most = [data.domain_names[index] for index in counts.argmax(axis=1)]
    return make_population(scenario.devices, scenario.seed, work.samples, most, data.domain_names)
