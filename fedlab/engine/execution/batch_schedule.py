"""The samples that a client reads in each step of a round, the same for all executors.

An example: a client with 5 labelled samples (rows 0 to 4), batches of 2, two local epochs, and a
method with one phase. `plan_phase` computes the sizes, `plan_round` draws an order for each pass::

    batch sizes of a pass    keep: 2, 2, 1    drop: 2, 2    merge: 2, 3
    pass 1, order 3 0 4 2 1  keep: [3 0] [4 2] [1]
    pass 2, order 1 4 0 3 2  keep: [1 4] [0 3] [2]

    Schedule(examples=5, orders=[3 0 4 2 1 1 4 0 3 2], sizes=[2 2 1 2 2 1])    steps 6, seen 10

With batch normalisation, ``keep`` leaves out the batches of one sample ([1] and [2]). The orders
depend on the seed, the client and the round alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch

from fedlab import rng
from fedlab.clients.base import ClientTrainer, Phase, Update
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.passes import BatchSize, Passes, PhasePlan, joined
from fedlab.errors import InputError
from fedlab.models.norms import learns_from_one


@dataclass(frozen=True)
class Schedule:
    """A client's round.

    Attributes:
        examples: Number of distinct samples, counted once for each phase that learns from them.
        orders: Phase -> row indices into the client's samples, of all steps one after the other,
            int64 on the CPU.
        sizes: Phase -> step -> number of its rows.
        learning: Whether each phase learns; one that does not takes no optimiser steps.
    """

    examples: int
    orders: list[torch.Tensor]
    sizes: list[tuple[int, ...]]
    learning: tuple[bool, ...]

    @cached_property
    def phases(self) -> list[list[torch.Tensor]]:
        """Phase -> step -> row indices."""
        pairs = zip(self.orders, self.sizes, strict=True)
        return [list(order.split_with_sizes(sizes)) for order, sizes in pairs]

    @cached_property
    def steps(self) -> int:
        """Number of optimiser steps in all phases."""
        pairs = zip(self.sizes, self.learning, strict=True)
        return sum(len(sizes) for sizes, learns in pairs if learns)

    @cached_property
    def seen(self) -> int:
        """Samples read in all steps together."""
        return sum(map(sum, self.sizes))

    @cached_property
    def learnt(self) -> int:
        """Samples read in the steps that learn together, whose means are the round's metrics."""
        pairs = zip(self.sizes, self.learning, strict=True)
        return sum(sum(sizes) for sizes, learns in pairs if learns)

    def metrics(self, means: Mapping[str, float], update: Update) -> dict[str, float]:
        """A round's metrics: the schedule's, the steps' means, and those of the update."""
        own = {name: float(value) for name, value in update.metrics.items()}
        return {"num-examples": self.examples, "steps": self.steps, **means, **own}


@dataclass(frozen=True)
class Portion:
    """The beginning of a round.

    Attributes:
        steps: Largest number of steps of each phase.
        rows: Largest number of samples of a step; None for all.
    """

    steps: int
    rows: int | None = None

    def of(self, schedule: Schedule) -> Schedule:
        """The beginning of a schedule."""
        phases = [[rows[: self.rows] for rows in p[: self.steps]] for p in schedule.phases]
        orders = [joined(phase) for phase in phases]
        sizes = [tuple(rows.shape[0] for rows in phase) for phase in phases]
        return replace(schedule, orders=orders, sizes=sizes)


def plan_phase(
    trainer: ClientTrainer,
    phase: Phase,
    labelled: int,
    unlabelled: int,
    *,
    batch_size: BatchSize,
    learns_from_one: bool,
) -> PhasePlan:
    """The number of samples that a client reads in each step of a phase.

    Args:
        trainer: The method's client trainer.
        phase: One of its phases.
        labelled: Number of the client's labelled training samples.
        unlabelled: Number of its other training samples.
        batch_size: Samples per step.
        learns_from_one: Whether the network can train on a single sample (see
            `fedlab.models.norms.learns_from_one`); if not, a client with one sample takes no step.

    Raises:
        InputError: If the phase reads samples apart that are known together.
    """
    unit = trainer.task.target.unit(labelled)
    if unit > 1 and (phase.split != "labelled" or phase.unlabelled is not None):
        raise InputError(
            f"partition.label_proportions: {trainer.parameters.name} reads single samples that are "
            "in no bag, and batches hold whole bags; use another method, such as "
            "strategy.name=fedavg"
        )
    counts = {"all": labelled + unlabelled, "labelled": labelled, "unlabelled": unlabelled}
    rows = counts[phase.split]
    own = partial(
        Passes.over,
        batch_size=batch_size,
        epochs=phase.epochs,
        steps=phase.steps,
        remainder=trainer.task.remainder,
    )
    if phase.unlabelled is None:
        rows = 0 if rows == 1 and not learns_from_one else rows
        read = math.ceil(phase.share * rows / unit) * unit if rows else 0
        # Batch normalisation cannot train on a single sample.
        plan = own(read, smallest=2 if trainer.normalises_batches else 1, unit=unit)
        return PhasePlan(plan, Passes((), 0), rows)
    more = batch_size if batch_size == "full" else phase.unlabelled * batch_size
    # Without the remainder, so that every step has equally many unlabelled samples.
    beside = partial(Passes.over, unlabelled, more, remainder="drop")
    if not rows:
        return PhasePlan(own(0), beside(epochs=phase.epochs, steps=phase.steps), unlabelled)
    plan = own(rows)
    if rows + unlabelled == 1 and not learns_from_one:
        plan = own(0)
    return PhasePlan(plan, beside(steps=plan.steps), rows + unlabelled)


def plan_round(
    trainer: ClientTrainer,
    data: ClientData,
    *,
    batch_size: BatchSize,
    seed: int,
    client: int,
    server_round: int,
) -> Schedule:
    """One client's schedule; see `plan_rounds`."""
    (schedule,) = plan_rounds(
        trainer,
        [data],
        batch_size=batch_size,
        seed=seed,
        clients=[client],
        server_round=server_round,
    )
    return schedule


def plan_rounds(
    trainer: ClientTrainer,
    datas: Sequence[ClientData],
    *,
    batch_size: BatchSize,
    seed: int,
    clients: Sequence[int],
    server_round: int,
) -> list[Schedule]:
    """Draws the order of clients' samples for all phases of a round.

    A client with a single sample takes no step if the network cannot normalise one sample.

    Args:
        trainer: The method's client trainer, for its phases.
        datas: Each client's samples.
        batch_size: Samples per step.
        seed: The scenario's seed; the order is keyed on it, the client and the round.
        clients: The clients' indices.
        server_round: The round, from 1.
    """
    phases, learning = trainer.phases(), tuple(phase.learns for phase in trainer.phases())
    schedules: list[Schedule] = []
    generator = torch.Generator()  # seeded anew for each client
    plans: dict[tuple[int, int], list[PhasePlan]] = {}  # by numbers of samples, often the same
    for client, data in zip(clients, datas, strict=True):
        counts = data.known, data.labelled.shape[0] - data.known
        if counts not in plans:
            alone = (
                not trainer.normalises_batches
                or 1 not in counts
                or learns_from_one(trainer.task.model, data.inputs)
            )
            plans[counts] = [
                plan_phase(trainer, phase, *counts, batch_size=batch_size, learns_from_one=alone)
                for phase in phases
            ]
        generator.manual_seed(rng.seed_of(seed, "order", client, server_round))
        examples, orders = 0, list[torch.Tensor]()
        for phase, plan in zip(phases, plans[counts], strict=True):
            examples += plan.examples * phase.learns
            own = plan.own.draw(data.number(phase.split), generator)
            beside = plan.beside.draw(data.number("unlabelled"), generator)
            orders.append(
                plan.together(data.rows(phase.split, own), data.rows("unlabelled", beside))
            )
        sizes = [plan.sizes for plan in plans[counts]]
        schedules.append(Schedule(examples, orders, sizes, learning))
    return schedules


def first_of_views(phase: Phase, labelled: torch.Tensor) -> int:
    """The index in a batch of the first sample with a strong view.

    Args:
        phase: A phase with strong views.
        labelled: Whether a sample of the batch is labelled, bool of shape (batch,) on the CPU.
    """
    return 0 if phase.unlabelled is None else int(labelled.sum())


def groups_by_shape(
    phases: Sequence[list[torch.Tensor]], views: Callable[[int, torch.Tensor], int]
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """The clients whose batches have the same shape, and their rows, for every step of a phase.

    Args:
        phases: The rows of every client's steps.
        views: (client, rows) -> number of rows with strong views.
    """
    for step in range(max(len(phase) for phase in phases)):
        groups: dict[tuple[int, int], list[int]] = {}
        for client, phase in enumerate(phases):
            if step < len(phase):
                shape = len(phase[step]), views(client, phase[step])
                groups.setdefault(shape, []).append(client)
        for members in groups.values():
            yield members, [phases[client][step] for client in members]
