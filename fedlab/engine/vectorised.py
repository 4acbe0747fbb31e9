"""A local round of many clients as one: their tensors stacked, their steps taken together.

A method is written for one client. `torch.func.vmap` turns its gradients into those of a stack of
clients; optimisers work on stacked tensors as they are. Nothing is padded, because padded samples
would enter the statistics of batch normalisation: at each step, the clients whose next batches are
equally long step together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from typing import Literal

import torch

from fedlab import rng
from fedlab.clients.base import ClientState, LocalHalf, Received, Update
from fedlab.clients.task import Batch
from fedlab.data.augment import draw
from fedlab.data.preprocess import Preprocess
from fedlab.engine.client_data import ClientData
from fedlab.engine.schedule import Schedule, plan_round
from fedlab.models.layout import channels_last


def train_many(
    half: LocalHalf,
    preprocess: Preprocess,
    received: Received,
    own_states: Sequence[ClientState],
    datas: Sequence[ClientData],
    *,
    batch_size: int | Literal["full"],
    seed: int,
    clients: Sequence[int],
) -> list[tuple[Update, dict[str, float]]]:
    """Runs all phases of a round for many clients that received the same.

    Numbers differ from those of `train_one` by rounding only. They depend, in their last bits, on
    which clients are given together.

    Args:
        half: The method's local half, which must be `vectorisable`.
        preprocess: Normalises and augments batches.
        received: What came down; not written to.
        own_states: What each client keeps; not written to.
        datas: The clients' samples.
        batch_size: Samples per step.
        seed: The scenario's seed; order and augmentation are keyed on it, the client and the round.
        clients: The clients' indices.

    Returns:
        For each client what `train_one` returns.
    """
    round_ = received.server_round
    schedules = [
        plan_round(half, data, batch_size=batch_size, seed=seed, client=client, server_round=round_)
        for client, data in zip(clients, datas, strict=True)
    ]
    # Next to each other are clients that end together: groups are then slices, not copies.
    order = sorted(range(len(clients)), key=lambda k: -schedules[k].seen)
    device = datas[0].inputs.device
    stack = _Stack(
        half,
        preprocess,
        received,
        [own_states[k] for k in order],
        [datas[k] for k in order],
        [rng.torch_generator(seed, "augment", clients[k], round_, device=device) for k in order],
    )
    planned = [schedules[k] for k in order]
    for members, rows in _groups(planned):
        stack.step(members, rows)
    results = dict(zip(order, stack.finish(planned), strict=True))
    return [results[k] for k in range(len(clients))]


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that a smaller stack may fit."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(text in str(error) for text in words)


def _groups(schedules: Sequence[Schedule]) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Step after step, the clients whose batches are equally long, and the rows of each."""
    for phases in zip(*(schedule.phases for schedule in schedules), strict=True):
        for step in range(max(len(phase) for phase in phases)):
            groups: dict[int, list[int]] = {}
            for client, phase in enumerate(phases):
                if step < len(phase):
                    groups.setdefault(len(phase[step]), []).append(client)
            for members in groups.values():
                yield members, [phases[client][step] for client in members]


class _Stack:
    """The carries and samples of many clients, one behind the other.

    Args:
        half: The method's local half.
        preprocess: Normalises and augments batches.
        received: What came down.
        own_states: What each client keeps.
        datas: The clients' samples.
        generators: Each client's own, for augmentation.
    """

    def __init__(
        self,
        half: LocalHalf,
        preprocess: Preprocess,
        received: Received,
        own_states: Sequence[ClientState],
        datas: Sequence[ClientData],
        generators: Sequence[torch.Generator],
    ) -> None:
        self.half = half
        self.preprocess = preprocess
        self.received = received
        self.generators = generators
        self.inputs = torch.cat([data.inputs for data in datas])
        self.labels = torch.cat([data.labels for data in datas])
        sizes = torch.tensor([len(data.labels) for data in datas])
        self.starts = sizes.cumsum(0) - sizes
        self.sums: dict[str, torch.Tensor] = {}

        half.task.model.train()
        fresh = cache(lambda: half.begin(received, {}))  # the same for all that keep nothing
        carries = [half.begin(received, state) if state else fresh() for state in own_states]
        self.carry = carries[0].map(lambda *tensors: torch.stack(tensors), *carries[1:])
        self.lr = half.task.optimizer.learning_rate(received.server_round)
        for_stacks = copy(half)
        for_stacks.task = half.task.for_stacks()
        self.gradients = torch.func.vmap(for_stacks.gradients)

    def step(self, members: list[int], rows: list[torch.Tensor]) -> None:
        """One optimiser step of some clients, each on as many of its own rows.

        Args:
            members: The clients' places in the stack, ascending.
            rows: For each of them the rows of its samples, all of one length.
        """
        where = self._where(members)
        batch = self._batch(members, rows)
        part = self.carry.map(lambda stacked: stacked[where])
        if isinstance(where, int):  # alone, as it would be in a round of its own
            _, metrics = self.half.step(part, batch, self.received.server_round)
        else:
            slopes, metrics = self.gradients(part, batch)
            self.half.task.optimizer.apply(part.parameters, slopes, part.optimizer, self.lr)
        if isinstance(where, torch.Tensor):
            self.carry.map(lambda stacked, new: stacked.index_copy_(0, where, new), part)
        for name, value in metrics.items():
            if name not in self.sums:
                self.sums[name] = value.new_zeros(len(self.starts))
            self.sums[name][where] += value * len(rows[0])

    def _where(self, members: list[int]) -> int | slice | torch.Tensor:
        """An index that yields views if the members stand in a row, and copies otherwise."""
        first, last = members[0], members[-1]
        if first == last:
            return first
        if last - first + 1 == len(members):
            return slice(first, last + 1)
        return torch.tensor(members, device=self.labels.device)

    def _batch(self, members: list[int], rows: list[torch.Tensor]) -> Batch:
        """Inputs of shape (members, batch, ...) and labels; without the first axis for one."""
        index = (torch.stack(rows) + self.starts[members, None]).to(self.labels.device)
        inputs = self.preprocess.inputs(self.inputs[index])
        if self.preprocess.augments:
            draws = [draw(len(rows[0]), self.generators[member]) for member in members]
            inputs = self.preprocess.augment_with(inputs, torch.stack(draws))
        labels = self.labels[index]
        if len(members) == 1:
            return Batch(channels_last(inputs[0]), labels[0])
        return Batch(inputs, labels)

    def finish(self, schedules: Sequence[Schedule]) -> Iterator[tuple[Update, dict[str, float]]]:
        """What each client sends and keeps, and its metrics."""
        sums = {name: values.tolist() for name, values in self.sums.items()}
        for client, schedule in enumerate(schedules):
            carry = self.carry.map(lambda stacked, k=client: stacked[k])
            update = self.half.finish(carry, self.received)
            # What is kept for rounds must not keep the other clients' tensors alive.
            own_state = {
                record: {name: tensor.clone() for name, tensor in tensors.items()}
                for record, tensors in update.own_state.items()
            }
            means = (
                {name: values[client] / schedule.seen for name, values in sums.items()}
                if schedule.seen
                else {}
            )
            metrics = {"num-examples": schedule.examples, "steps": schedule.steps, **means}
            yield Update(update.arrays, own_state), metrics
