"""A local round of one client, step after step: the reference that every quicker way must equal."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

import torch

from fedlab import rng
from fedlab.clients.base import ClientState, LocalHalf, Received, Update
from fedlab.clients.task import Batch
from fedlab.data.preprocess import Preprocess
from fedlab.engine.client_data import ClientData
from fedlab.engine.schedule import plan_round
from fedlab.models.layout import channels_last


def train_one(
    half: LocalHalf,
    preprocess: Preprocess,
    received: Received,
    own_state: ClientState,
    data: ClientData,
    *,
    batch_size: int | Literal["full"],
    seed: int,
    client: int,
) -> tuple[Update, dict[str, float]]:
    """Runs all phases of a round for one client.

    Args:
        half: The method's local half.
        preprocess: Normalises and augments batches.
        received: What came down; not written to.
        own_state: What the client keeps; not written to.
        data: The client's samples.
        batch_size: Samples per step.
        seed: The scenario's seed; order, augmentation and dropout are keyed on it, the client and
            the round.
        client: The client's index.

    Returns:
        The update, and the metrics averaged over samples, with ``num-examples`` (distinct samples
        used) and ``steps``.
    """
    round_, device = received.server_round, data.inputs.device
    schedule = plan_round(
        half, data, batch_size=batch_size, seed=seed, client=client, server_round=round_
    )
    augment = rng.torch_generator(seed, "augment", client, round_, device=device)
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    half.task.model.train()
    with rng.torch_seed(seed, "dropout", client, round_):
        carry = half.begin(received, own_state)
        for phase in schedule.phases:
            for rows in phase:
                index = rows.to(device)
                inputs = preprocess.augment(preprocess.inputs(data.inputs[index]), augment)
                batch = Batch(channels_last(inputs), data.labels[index])
                carry, metrics = half.step(carry, batch, round_)
                for name, value in metrics.items():
                    sums[name] += value * len(rows)
        update = half.finish(carry, received)
    means = {name: float(total) / schedule.seen for name, total in sums.items()}
    return update, {"num-examples": schedule.examples, "steps": schedule.steps, **means}
