"""A local round of many clients as one: their tensors stacked, their steps taken together.

A method is written for one client. `torch.func.vmap` turns its gradients into those of a stack of
clients; optimisers work on stacked tensors as they are. Nothing is padded, because padded samples
would enter the statistics of batch normalisation: at each step, the clients whose next batches are
equally long step together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property, partial
from typing import Literal

import torch

from fedlab import rng
from fedlab.clients.base import (
    Carry,
    ClientState,
    ClientTrainer,
    Phase,
    Received,
    Update,
    trained_part,
)
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.batch_schedule import Schedule, first_of_views, plan_round
from fedlab.engine.execution.executor import Cohort, Executor, Trained, add
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.federation.preaggregation import Preaggregation
from fedlab.models.anatomy.observed import same_chance
from fedlab.models.memory_format import channels_last
from fedlab.training.task import Batch

Unused = dict[Hashable, frozenset[str]]
"""Which parameters a kind of step leaves without a gradient: those that the objective does not use,
in a phase, for batches of a shape."""


class Vmapped(Executor):
    """Any network and method that `torch.func.vmap` can take."""

    @cached_property
    def unused(self) -> Unused:
        """What steps of a run were found not to use."""
        return {}

    def supports(self, cohort: Cohort) -> bool:
        """Whether the method and the network can be stacked."""
        return self.setting.trainer.supports_vmap

    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """See `Executor.train`."""
        trained = train_many(
            self.setting.trainer,
            self.setting.preprocess,
            cohort.received,
            cohort.states,
            cohort.datas,
            batch_size=self.setting.batch_size,
            seed=self.setting.seed,
            clients=cohort.clients,
            unused=self.unused,
        )
        return add(trained, into)


def train_many(
    trainer: ClientTrainer,
    preprocess: Preprocess,
    received: Received,
    own_states: Sequence[ClientState],
    datas: Sequence[ClientData],
    *,
    batch_size: int | Literal["full"],
    seed: int,
    clients: Sequence[int],
    unused: Unused | None = None,
) -> list[tuple[Update, dict[str, float]]]:
    """Runs all phases of a round for many clients that received the same.

    Numbers differ from those of `train_one` by rounding only. They depend, in their last bits, on
    which clients are given together.

    Args:
        trainer: The method's client trainer, which must be `supports_vmap`.
        preprocess: Normalises and augments batches.
        received: What came down; not written to.
        own_states: What each client keeps; not written to.
        datas: The clients' samples.
        batch_size: Samples per step.
        seed: The scenario's seed; order and augmentation are keyed on it, the client and the round.
        clients: The clients' indices.
        unused: What is known of steps of the same run, to which is added.

    Returns:
        For each client what `train_one` returns.
    """
    round_ = received.server_round
    datas = [
        trainer.training_data(data, received, state)
        for data, state in zip(datas, own_states, strict=True)
    ]
    schedules = [
        plan_round(
            trainer, data, batch_size=batch_size, seed=seed, client=client, server_round=round_
        )
        for client, data in zip(clients, datas, strict=True)
    ]
    # Next to each other are clients that end together: groups are then slices, not copies.
    order = sorted(range(len(clients)), key=lambda k: -schedules[k].seen)
    device = datas[0].inputs.device
    stack = _Stack(
        trainer,
        preprocess,
        received,
        [own_states[k] for k in order],
        [datas[k] for k in order],
        [rng.torch_generator(seed, "augment", clients[k], round_, device=device) for k in order],
        {} if unused is None else unused,
    )
    planned = [schedules[k] for k in order]
    for phase, steps in enumerate(zip(*(schedule.phases for schedule in planned), strict=True)):
        stack.enter(phase)
        for members, rows in _groups(steps, stack.views):
            stack.step(members, rows)
    results = dict(zip(order, stack.finish(planned), strict=True))
    return [results[k] for k in range(len(clients))]


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that a smaller stack may fit."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(text in str(error) for text in words)


def _groups(
    phases: Sequence[list[torch.Tensor]], views: Callable[[int, torch.Tensor], int]
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Step after step of a phase, the clients whose batches are alike in shape, and their rows.

    Args:
        phases: The rows of every client's steps.
        views: (client, rows) -> how many of them have strong views.
    """
    for step in range(max(len(phase) for phase in phases)):
        groups: dict[tuple[int, int], list[int]] = {}
        for client, phase in enumerate(phases):
            if step < len(phase):
                shape = len(phase[step]), views(client, phase[step])
                groups.setdefault(shape, []).append(client)
        for members in groups.values():
            yield members, [phases[client][step] for client in members]


def _present(phase: Phase) -> tuple[int | None, int | None]:
    """Which of a batch's last two tensors there are in a phase, as `torch.func.vmap` wants it."""
    return 0 if phase.split == "all" else None, 0 if phase.strong_views else None


class _Stack:
    """The carries and samples of many clients, one behind the other.

    Args:
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        received: What came down.
        own_states: What each client keeps.
        datas: The clients' samples.
        generators: Each client's own, for augmentation.
        unused: What is known of steps; added to.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        received: Received,
        own_states: Sequence[ClientState],
        datas: Sequence[ClientData],
        generators: Sequence[torch.Generator],
        unused: Unused,
    ) -> None:
        self.trainer = trainer
        self.preprocess = preprocess
        self.received = received
        self.generators = generators
        self.unused = unused
        self.inputs = torch.cat([data.inputs for data in datas])
        self.labels = torch.cat([data.labels for data in datas])
        self.labelled = torch.cat([data.labelled for data in datas])
        sizes = torch.tensor([len(data.labels) for data in datas])
        self.starts = sizes.cumsum(0) - sizes
        self.sums: dict[str, torch.Tensor] = {}

        trainer.set_train_mode(received)
        carries = [
            trainer.begin(received, state, client_stats_of(trainer, data))
            for state, data in zip(own_states, datas, strict=True)
        ]
        self.carry = carries[0].map(lambda *tensors: torch.stack(tensors), *carries[1:])
        self.lr = trainer.task.optimizer.learning_rate(received.server_round)
        self.stacked_trainer = trainer.for_vmap()

    def enter(self, phase: int) -> None:
        """Goes on to a phase of the round."""
        self.number, self.phase = phase, self.trainer.phases()[phase]
        stacked = self.stacked_trainer.phases()[phase]
        self.gradients = torch.func.vmap(
            partial(self.stacked_trainer.gradients, phase=stacked),
            in_dims=(0, Batch(0, 0, 0, *_present(stacked))),  # type: ignore[arg-type]
        )
        if stacked.enter:
            # What does not depend on the client comes back as one tensor seen many times.
            self.carry = torch.func.vmap(stacked.enter)(self.carry).map(torch.Tensor.contiguous)

    def views(self, client: int, rows: torch.Tensor) -> int:
        """How many of a client's rows have strong views in this phase."""
        if not self.phase.strong_views:
            return 0
        known = self.labelled[rows + self.starts[client]]
        return len(rows) - first_of_views(self.phase, known)

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
            _, metrics = self.trainer.step(part, batch, self.phase, self.received.server_round)
        else:
            unused = self._unused(part, batch)
            grads, metrics = self.gradients(part, batch)
            trained = trained_part(part.parameters, self.phase)
            if unused:
                grads = {name: grad for name, grad in grads.items() if name not in unused}
            taken = self.trainer.takes_step(part, self.phase)
            self.trainer.task.optimizer.apply(trained, grads, part.optimizer, self.lr, taken)
        if isinstance(where, torch.Tensor):
            self.carry.map(lambda stacked, new: stacked.index_copy_(0, where, new), part)
        for name, value in metrics.items():
            if name not in self.sums:
                self.sums[name] = value.new_zeros(len(self.starts))
            self.sums[name][where] += value * len(rows[0])

    def _unused(self, part: Carry, batch: Batch) -> frozenset[str]:
        """Parameters that have no gradient in such a step, as a client by itself finds them.

        Under `torch.func.vmap` they have one of zeros. What is used cannot depend on values there,
        only on shapes, so that one client's step tells for all that are alike.
        """
        shapes = tuple(None if tensor is None else tensor.shape[1:] for tensor in batch)
        kind = (self.number, shapes, tuple(part.extra))
        if kind not in self.unused:
            one = part.map(lambda stacked: stacked[0].clone())
            alone = Batch(*(None if tensor is None else tensor[0] for tensor in batch))  # type: ignore[arg-type]
            with same_chance():
                grads, _ = self.trainer.gradients(one, alone, self.phase)
            trained = trained_part(part.parameters, self.phase)
            self.unused[kind] = frozenset(name for name in trained if name not in grads)
        return self.unused[kind]

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
        own_rows = torch.stack(rows)
        index = (own_rows + self.starts[members, None]).to(self.labels.device)
        stored = self.preprocess.inputs(self.inputs[index], own=True)
        generators = [self.generators[member] for member in members]
        inputs = self.preprocess.augment_stack(stored, generators)
        strong = None
        if self.phase.strong_views:
            count = self.views(members[0], rows[0])
            strong = self.preprocess.strong_stack(stored[:, len(rows[0]) - count :], generators)
        labelled = None
        if self.phase.split == "all":
            labelled = self.labelled[own_rows + self.starts[members, None]].to(index.device)
        batch = Batch(inputs, self.labels[index], own_rows.to(index.device), labelled, strong)
        if len(members) == 1:
            alone = [None if tensor is None else tensor[0] for tensor in batch[1:]]
            return Batch(channels_last(inputs[0]), *alone)  # type: ignore[arg-type]
        return batch

    def finish(self, schedules: Sequence[Schedule]) -> Iterator[tuple[Update, dict[str, float]]]:
        """What each client sends and keeps, and its metrics."""
        sums = {name: values.tolist() for name, values in self.sums.items()}
        for client, schedule in enumerate(schedules):
            carry = self.carry.map(lambda stacked, k=client: stacked[k])
            update = self.trainer.finish(carry, self.received, schedule.steps)
            # What is kept for rounds must not keep the other clients' tensors alive.
            client_state = {
                record: {name: tensor.clone() for name, tensor in tensors.items()}
                for record, tensors in update.client_state.items()
            }
            means = (
                {name: values[client] / schedule.seen for name, values in sums.items()}
                if schedule.seen
                else {}
            )
            yield update._replace(client_state=client_state), schedule.metrics(means, update)
