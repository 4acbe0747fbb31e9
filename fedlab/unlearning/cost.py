"""What forgetting and retraining ask of the clients: optimiser steps, and bytes of tensors."""

from __future__ import annotations

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


def cost_without(run: RunRecord, client: int, cohort: int, down: int) -> Cost:
    """What the rounds of a run would cost without a client, with as many steps and bytes each.

    Exact where all clients take part in every round; else what is to be expected.

    Args:
        run: The run.
        client: The client that is left out.
        cohort: Clients of a round without it.
        down: Bytes that go down to a client that trains.
    """
    steps = client_rounds(run.history)
    others = steps[steps["client"] != client]
    rounds = cohort * run.rounds
    every = training_cost(run, down)
    return Cost(float(others["value"].mean()) * rounds, every.bytes / len(steps) * rounds)


def client_rounds(history: pandas.DataFrame) -> pandas.DataFrame:
    """One row for each client and round in which it trained: its number of steps."""
    return history[(history["split"] == "train") & (history["metric"] == "steps")]
