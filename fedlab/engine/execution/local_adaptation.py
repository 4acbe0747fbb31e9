"""A few steps on a client's own samples, from a model that others have trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from fedlab import rng
from fedlab.clients.base import ClientTrainer, Phase, Received
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.sequential import train_one
from fedlab.records import Tensors
from fedlab.strategies.parameters import StrategyParameters
from fedlab.training.task import Task


class LocalAdaptation(ClientTrainer):
    """Steps on the labelled samples with the scenario's optimiser and loss, for every method."""

    def phases(self) -> Sequence[Phase]:
        """One."""
        return [Phase("labelled", steps=self.task.local_steps)]


def adapted(
    task: Task,
    preprocess: Preprocess,
    state: Tensors,
    received: Received,
    data: ClientData,
    *,
    steps: int,
    batch_size: int | Literal["full"],
    seed: int,
    client: int,
) -> Tensors:
    """The model after so many steps; a client without labelled samples keeps it as it was.

    Learning rate and loss are those of the round. No other state keeps these steps.

    Args:
        task: The network, optimiser and loss of the scenario.
        preprocess: Normalises and augments batches.
        state: The model to start from, all tensors by name; not written to.
        received: What came down; it has the round.
        data: The client's training samples.
        steps: Optimiser steps.
        batch_size: Samples of a step.
        seed: The scenario's seed; the order of samples is keyed on it, the client and the round.
        client: The client's index.
    """
    if not bool(data.labelled.any()):
        return state
    trainer = LocalAdaptation(
        StrategyParameters(name="adaptation"), replace(task, local_steps=steps)
    )
    with rng.preserved():
        update, _ = train_one(
            trainer,
            preprocess,
            Received({"arrays": state}, received.config),
            {},
            data,
            batch_size=batch_size,
            seed=rng.seed_of(seed, "adaptation"),
            client=client,
        )
    return {**state, **update.client_state.get("model", {}), **update.arrays["arrays"]}
