"""A local round of many clients with stacked tensors, by `torch.func.vmap`.

A method is written for one client. `torch.func.vmap` turns its gradients into those of a stack of
clients; optimisers work on stacked tensors without changes. Batches are not padded, as padding
would enter the statistics of batch normalisation: at each step, the clients whose next batches have
the same length step together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from fedlab import rng
from fedlab.clients.base import ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.batch_schedule import groups_by_shape, plan_rounds
from fedlab.engine.execution.executor import Cohort, Executor, Trained, add
from fedlab.engine.execution.feed import Feed, send
from fedlab.engine.execution.stack import Stack, Unused
from fedlab.federation.preaggregation import Preaggregation


class Vmapped(Executor):
    """Supports every network and method that `torch.func.vmap` supports."""

    @cached_property
    def unused(self) -> Unused:
        """Cache of unused parameters, for the whole run."""
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
    client_states: Sequence[ClientState],
    datas: Sequence[ClientData],
    *,
    batch_size: int | Literal["full"],
    seed: int,
    clients: Sequence[int],
    unused: Unused | None = None,
) -> list[tuple[Update, dict[str, float]]]:
    """Runs all phases of a round for many clients that received the same.

    Numbers differ from those of `train_one` by rounding only; the rounding depends on which clients
    are in the stack.

    Args:
        trainer: The method's client trainer, whose `supports_vmap` must be true.
        preprocess: Normalises and augments batches.
        received: What came down; not written to.
        client_states: Each client's state; not written to.
        datas: The clients' samples.
        batch_size: Samples per step.
        seed: The scenario's seed; order and augmentation are keyed on it, the client and the round.
        clients: The clients' indices.
        unused: Cache of unused parameters; added to.

    Returns:
        For each client what `train_one` returns.
    """
    round_ = received.server_round
    datas = [
        trainer.training_data(data, received, state)
        for data, state in zip(datas, client_states, strict=True)
    ]
    schedules = plan_rounds(
        trainer, datas, batch_size=batch_size, seed=seed, clients=clients, server_round=round_
    )
    # Clients that end together are then neighbours, so that groups are slices instead of copies.
    order = sorted(range(len(clients)), key=lambda k: -schedules[k].seen)
    stack = Stack(
        trainer,
        preprocess,
        received,
        [client_states[k] for k in order],
        [datas[k] for k in order],
        [rng.torch_generator(seed, "augment", clients[k], round_) for k in order],
        [(seed, "dropout", clients[k], round_) for k in order],
        {} if unused is None else unused,
    )
    planned = [schedules[k] for k in order]
    groups: list[list[list[int]]] = []
    feeds: list[Feed] = []
    for phase, steps in enumerate(zip(*(schedule.phases for schedule in planned), strict=True)):
        stack.turn_to(phase)
        groups.append([])
        for members, rows in groups_by_shape(steps, stack.views):
            groups[-1].append(members)
            feeds.append(stack.feed(members, rows))
    fed = iter(send(feeds, datas[0].inputs.device))
    for phase, each in enumerate(groups):
        stack.enter(phase)
        for members in each:
            stack.step(members, next(fed))
    results = dict(zip(order, stack.finish(planned), strict=True))
    return [results[k] for k in range(len(clients))]
