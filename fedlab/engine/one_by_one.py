"""A local round of one client, step after step: the reference that every quicker way must equal."""

from __future__ import annotations

from collections import defaultdict

import torch

from fedlab import rng
from fedlab.clients.base import ClientState, LocalHalf, Received, Update
from fedlab.clients.task import Batch
from fedlab.data.preprocess import Preprocess
from fedlab.engine.client_data import ClientData, batches
from fedlab.models.layout import channels_last
from fedlab.models.norms import has_batch_norm


def train_one(
    half: LocalHalf,
    preprocess: Preprocess,
    received: Received,
    own_state: ClientState,
    data: ClientData,
    *,
    batch_size: int | str,
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
    round_ = received.server_round
    device = data.inputs.device
    order = rng.torch_generator(seed, "order", client, round_)
    augment = rng.torch_generator(seed, "augment", client, round_, device=device)
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    seen = steps = examples = 0
    model = half.task.model.train()
    with rng.torch_seed(seed, "dropout", client, round_):
        carry = half.begin(received, own_state)
        for phase in half.phases():
            rows = data.split(phase.split)
            examples += len(rows)
            for index in batches(
                rows,
                batch_size,  # type: ignore[arg-type]
                epochs=phase.epochs,
                steps=phase.steps,
                generator=order,
                smallest=2 if has_batch_norm(model) else 1,
            ):
                inputs = preprocess.augment(preprocess.inputs(data.inputs[index]), augment)
                batch = Batch(channels_last(inputs), data.labels[index])
                carry, metrics = half.step(carry, batch, round_)
                for name, value in metrics.items():
                    sums[name] += value * len(index)
                seen += len(index)
                steps += 1
        update = half.finish(carry, received)
    means = {name: float(total) / seen for name, total in sums.items()}
    return update, {"num-examples": examples, "steps": steps, **means}
