"""The stacked carries and samples of many clients, and their steps by `torch.func.vmap`."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from functools import partial

import torch

from fedlab import rng
from fedlab.clients.base import (
    Carry,
    ClientState,
    ClientTrainer,
    Received,
    Update,
    trained_part,
)
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.device_copies import to_host
from fedlab.engine.execution.batch_schedule import Schedule, first_of_views
from fedlab.engine.execution.feed import Feed
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.models.anatomy.observed import same_chance
from fedlab.models.memory_format import channels_last
from fedlab.training.task import Batch

# Operations without a form for stacks are run client by client: PyTorch's request to report that is
# no news to a user, who may choose with engine.execution.
warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet")

Unused = dict[Hashable, frozenset[str]]
"""(phase, shapes of the batch) -> names of the parameters that the objective of such a step does
not use, so that they have no gradient."""


def _places(batch: Batch) -> Batch:
    """``in_dims`` of a batch of stacked clients."""
    return Batch(*(None if tensor is None else 0 for tensor in batch))  # type: ignore[arg-type]


class Stack:
    """The stacked carries and samples of many clients.

    Args:
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        received: What came down.
        client_states: Each client's state.
        datas: The clients' samples.
        generators: Each client's generator for augmentation.
        keys: Of each client, for what its method draws: the seed, a purpose, client and round.
        unused: Cache of unused parameters; added to.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        received: Received,
        client_states: Sequence[ClientState],
        datas: Sequence[ClientData],
        generators: Sequence[torch.Generator],
        keys: Sequence[tuple[int, str, int, int]],
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
        self.starts_there = self.starts.to(self.labels.device)
        self.labelled_there = torch.cat([data.labelled_there for data in datas])
        self.sums: dict[str, torch.Tensor] = {}

        trainer.set_train_mode(received)
        draws = type(trainer).draw is not ClientTrainer.draw
        carries: list[Carry] = []
        self.chances: list[torch.Generator] = []
        for state, data, key in zip(client_states, datas, keys, strict=True):
            with rng.seeded(*key) if draws else nullcontext():
                carries.append(trainer.begin(received, state, client_stats_of(trainer, data)))
                self.chances.append(rng.going_on() if draws else torch.default_generator)
        self.carry = carries[0].map(lambda *tensors: torch.stack(tensors), *carries[1:])
        self.lr = trainer.task.optimizer.learning_rate(received.server_round)
        self.stacked_trainer = trainer.for_vmap()

    def turn_to(self, phase: int) -> None:
        """Turns to a phase of the round, of which the next feeds are."""
        self.number, self.phase = phase, self.trainer.phases()[phase]

    def feed(self, members: list[int], rows: list[torch.Tensor]) -> Feed:
        """What a step of some clients reads, with rows of the samples of all clients.

        Args:
            members: The clients' places in the stack, ascending.
            rows: For each of them the rows of its samples, all of the same length.
        """
        own_rows = torch.stack(rows)
        generators = [self.generators[member] for member in members]
        views = self.views(members[0], rows[0]) if self.phase.strong_views else None
        drawn = [
            self.trainer.draw(self.received, len(rows[0]), self.chances[member])
            for member in members
        ]
        some = [each for each in drawn if each is not None]
        noise = torch.stack(some) if some else None
        return Feed.drawn(own_rows, self.preprocess, generators, views, noise)

    def enter(self, phase: int) -> None:
        """Enters a phase of the round."""
        self.turn_to(phase)
        stacked = self.stacked_trainer.phases()[phase]
        self.stacked_phase = stacked
        if stacked.enter:
            # Tensors that do not depend on the client come back expanded, with stride 0.
            self.carry = torch.func.vmap(stacked.enter)(self.carry).map(torch.Tensor.contiguous)

    def views(self, client: int, rows: torch.Tensor) -> int:
        """Number of a client's rows with strong views in this phase."""
        if not self.phase.strong_views:
            return 0
        known = self.labelled[rows + self.starts[client]]
        return len(rows) - first_of_views(self.phase, known)

    def step(self, members: list[int], feed: Feed) -> None:
        """One optimiser step of some clients, on equally many rows each.

        Args:
            members: The clients' places in the stack, ascending.
            feed: What the step reads, on the device.
        """
        where = self._where(members)
        batch = self._batch(members, feed)
        part = self.carry.map(lambda stacked: stacked[where])
        if isinstance(where, int):  # one client: the same step as in `train_one`
            _, metrics = self.trainer.step(part, batch, self.phase, self.received.server_round)
        else:
            unused = self._unused(part, batch)
            batch = self._prepared(part, batch)
            places = (0, _places(batch))
            gradients = partial(self.stacked_trainer.gradients, phase=self.stacked_phase)
            grads, metrics = torch.func.vmap(gradients, in_dims=places)(part, batch)  # type: ignore[arg-type]
            trained = trained_part(part.parameters, self.phase)
            if unused:
                grads = {name: grad for name, grad in grads.items() if name not in unused}
            taken = self.trainer.takes_step(part, self.phase)
            self.trainer.task.optimizer.apply(trained, grads, part.optimizer, self.lr, taken)
            if type(self.trainer).after_step is not ClientTrainer.after_step:
                torch.func.vmap(self._after_step, in_dims=places)(part, batch)  # type: ignore[arg-type]
        if isinstance(where, torch.Tensor):
            self.carry.map(lambda stacked, new: stacked.index_copy_(0, where, new), part)
        if not self.phase.learns:
            return
        for name, value in metrics.items():
            if name not in self.sums:
                self.sums[name] = value.new_zeros(len(self.starts))
            self.sums[name][where] += value * feed.rows.shape[-1]

    def _prepared(self, part: Carry, batch: Batch) -> Batch:
        """The batch with what the method makes of it before the step."""
        if type(self.trainer).before_step is ClientTrainer.before_step:
            return batch
        before = partial(self.stacked_trainer.before_step, phase=self.stacked_phase)
        prepared = torch.func.vmap(before, in_dims=(0, _places(batch)))(part, batch)  # type: ignore[arg-type]
        return batch._replace(prepared=prepared)

    def _after_step(self, part: Carry, batch: Batch) -> torch.Tensor:
        """What follows a step; returns a tensor, as every function under `torch.func.vmap`."""
        self.stacked_trainer.after_step(part, batch, self.stacked_phase)
        return batch.indices

    def _unused(self, part: Carry, batch: Batch) -> frozenset[str]:
        """Names of the parameters that have no gradient in such a step.

        Under `torch.func.vmap` they have a gradient of zeros. Which ones are used cannot depend on
        values under vmap, only on shapes, so the gradients of one client are computed without vmap
        once for each phase and shape.
        """
        given = batch[:-1]  # nothing is prepared yet
        shapes = tuple(None if tensor is None else tensor.shape[1:] for tensor in given)
        kind = (self.number, shapes, tuple(part.extra))
        if kind not in self.unused:
            one = part.map(lambda stacked: stacked[0].clone())
            alone = Batch(*(None if tensor is None else tensor[0] for tensor in given))  # type: ignore[arg-type]
            with same_chance():
                prepared = self.trainer.before_step(one, alone, self.phase)
                alone = alone._replace(prepared=prepared)
                grads, _ = self.trainer.gradients(one, alone, self.phase)
            trained = trained_part(part.parameters, self.phase)
            self.unused[kind] = frozenset(name for name in trained if name not in grads)
        return self.unused[kind]

    def _where(self, members: list[int]) -> int | slice | torch.Tensor:
        """An index that yields views if the members are consecutive, and copies otherwise."""
        first, last = members[0], members[-1]
        if first == last:
            return first
        if last - first + 1 == len(members):
            return slice(first, last + 1)
        return torch.tensor(members, device=self.labels.device)

    def _batch(self, members: list[int], feed: Feed) -> Batch:
        """Inputs of shape (members, batch, ...) and labels; without the first axis for one."""
        own_rows = feed.rows
        index = own_rows + self.starts_there[self._where(members)].view(-1, 1)
        stored = self.preprocess.inputs(self.inputs[index], own=True)
        inputs = self.preprocess.augmented(stored, feed.draws)
        strong = None
        if feed.strong is not None:
            strong = self.preprocess.strong_views(
                stored[:, own_rows.shape[1] - feed.views :], feed.strong
            )
        labelled = None
        if self.phase.split == "all":
            labelled = self.labelled_there[index]
        beside = self.labels[index], own_rows, labelled, strong, feed.noise
        if len(members) == 1:
            alone = [None if tensor is None else tensor[0] for tensor in beside]
            return Batch(channels_last(inputs[0]), *alone)  # type: ignore[arg-type]
        return Batch(inputs, *beside)

    def finish(self, schedules: Sequence[Schedule]) -> list[tuple[Update, dict[str, float]]]:
        """Each client's update and metrics."""
        updates = [self._update(client, schedule) for client, schedule in enumerate(schedules)]
        scalars = [torch.as_tensor(each) for update in updates for each in update.metrics.values()]
        # The only wait of the round.
        host = iter(to_host([*self.sums.values(), *(value.detach() for value in scalars)]))
        sums = {name: next(host).tolist() for name in self.sums}
        found: list[tuple[Update, dict[str, float]]] = []
        for client, (schedule, update) in enumerate(zip(schedules, updates, strict=True)):
            update = update._replace(metrics={name: next(host) for name in update.metrics})
            learnt = schedule.learnt
            means = {n: values[client] / learnt for n, values in sums.items()} if learnt else {}
            found.append((update, schedule.metrics(means, update)))
        return found

    def _update(self, client: int, schedule: Schedule) -> Update:
        """A client's update, whose metrics are still on the device."""
        carry = self.carry.map(lambda stacked: stacked[client])
        update = self.trainer.finish(carry, self.received, schedule.steps)
        # Clones, as views would keep the whole stack alive.
        client_state = {
            record: {name: tensor.clone() for name, tensor in tensors.items()}
            for record, tensors in update.client_state.items()
        }
        return update._replace(client_state=client_state)
