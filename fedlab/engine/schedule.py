"""Which samples a client reads in each step of a round: the same however clients are executed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from fedlab import rng
from fedlab.clients.base import LocalHalf, Update
from fedlab.data.client_data import ClientData
from fedlab.models.norms import learns_from_one


@dataclass(frozen=True)
class Schedule:
    """A client's round.

    Attributes:
        examples: Distinct samples that are used, counted once for each phase that uses them.
        phases: Phase -> step -> row indices into the client's samples, int64 on the CPU.
    """

    examples: int
    phases: list[list[torch.Tensor]]

    @cached_property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return sum(len(phase) for phase in self.phases)

    @cached_property
    def seen(self) -> int:
        """Samples read in all steps together."""
        return sum(len(rows) for phase in self.phases for rows in phase)

    def metrics(self, means: Mapping[str, float], update: Update) -> dict[str, float]:
        """A round's metrics: what the schedule, the steps and the method's last word say."""
        own = {name: float(value) for name, value in update.metrics.items()}
        return {"num-examples": self.examples, "steps": self.steps, **means, **own}


def plan_round(
    half: LocalHalf,
    data: ClientData,
    *,
    batch_size: int | Literal["full"],
    seed: int,
    client: int,
    server_round: int,
) -> Schedule:
    """Draws the order of a client's samples for all phases of a round.

    A client that has a single sample, and a network that cannot normalise it, takes no step.

    Args:
        half: The method's local half, which says what the phases are.
        data: The client's samples.
        batch_size: Samples per step.
        seed: The scenario's seed; the order is keyed on it, the client and the round.
        client: The client's index.
        server_round: The round, from 1.
    """
    generator = rng.torch_generator(seed, "order", client, server_round)
    # Batch normalisation cannot train on a single sample.
    smallest = 2 if half.normalises_batches else 1
    examples = 0
    phases = []
    for phase in half.phases():
        rows = data.split(phase.split)
        if len(rows) == 1 and not learns_from_one(half.task.model, data.inputs):
            rows = rows[:0]
        examples += len(rows)
        steps = batches(
            rows,
            batch_size,
            epochs=phase.epochs,
            steps=phase.steps,
            generator=generator,
            smallest=smallest,
        )
        phases.append(list(steps))
    return Schedule(examples, phases)


def batches(
    rows: torch.Tensor,
    batch_size: int | Literal["full"],
    *,
    epochs: int,
    steps: int | None,
    generator: torch.Generator,
    smallest: int = 1,
) -> Iterator[torch.Tensor]:
    """Row indices of every step of a phase, in an order drawn anew for every pass.

    Args:
        rows: The rows to draw from, shape (n,).
        batch_size: Rows per step; the last step of a pass takes what is left.
        epochs: Passes over the rows.
        steps: Steps in all instead of passes, drawn from as many passes as needed.
        generator: Draws the orders.
        smallest: A remainder with fewer rows than this is left out of its pass, unless it is the
            whole pass (batch normalisation cannot train on a single sample).
    """
    if len(rows) == 0:
        return
    size = len(rows) if batch_size == "full" else batch_size
    taken = 0
    passes = 0
    while passes < epochs if steps is None else taken < steps:
        order = rows[torch.randperm(len(rows), generator=generator)]
        for chunk in order.split(size):
            if len(chunk) < smallest and len(rows) > size:
                continue
            yield chunk
            taken += 1
            if steps is not None and taken == steps:
                return
        passes += 1
