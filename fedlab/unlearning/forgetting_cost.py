"""What forgetting and retraining ask of the clients: optimiser steps, and bytes of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

    from fedlab.runs.run_record import RunRecord


@dataclass(frozen=True)
class Cost:
    """What clients do and what travels; tests are left out.

    Attributes:
        steps: Gradients that clients compute of the network, each of one batch.
        bytes: Bytes of tensors, down and up.
    """

    steps: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps, self.bytes + other.bytes)


def training_cost(run: RunRecord, down: int) -> Cost:
    """What all rounds of a run have cost.

    Args:
        run: The run; the cost is that of the rounds in its history.
        down: Bytes that go down to a client that trains.
    """
    history = run.history
    steps = client_rounds(history)
    up = history[(history["split"] == "round") & (history["metric"] == "bytes_up")]["value"].sum()
    return Cost(float(steps["value"].sum()), float(up) + down * len(steps))


def expected_cost(
    run: RunRecord, clients: Sequence[int], cohort: int, down: int, changed: Mapping[int, float]
) -> Cost:
    """What as many rounds of some of a run's clients would cost, with as many steps and bytes each.

    Exact where all clients take part in every round; else what is to be expected.

    Args:
        run: The run.
        clients: The clients.
        cohort: How many of them a round has.
        down: Bytes that go down to a client that trains.
        changed: Steps in a round of clients that would have fewer samples than in the run.
    """
    steps = client_rounds(run.history)
    own = steps[steps["client"].isin(clients)]
    each = own["client"].map(changed).fillna(own["value"])
    rounds = cohort * run.rounds
    every = training_cost(run, down)
    return Cost(float(each.mean()) * rounds, every.bytes / len(steps) * rounds)


def client_rounds(history: pandas.DataFrame) -> pandas.DataFrame:
    """One row for each client and round in which it trained: its number of steps."""
    return history[(history["split"] == "train") & (history["metric"] == "steps")]
