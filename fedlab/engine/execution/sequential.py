"""A local round of one client, step after step: the reference for all other executors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import ClassVar, Literal

import torch

from fedlab import rng
from fedlab.clients.base import ClientState, ClientTrainer, Phase, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.batch_schedule import Portion, first_of_views, plan_round
from fedlab.engine.execution.executor import Cohort, Executor, Trained, add
from fedlab.engine.execution.feed import Feed, send
from fedlab.engine.execution.low_rank_layers import WideLayers
from fedlab.engine.execution.low_rank_rule import LayerWork
from fedlab.engine.execution.quick_passes import quick_passes
from fedlab.engine.execution.step_loop import StepLoop
from fedlab.federation.preaggregation import Preaggregation
from fedlab.losses.base import ClientStats

MakeLoop = Callable[[ClientTrainer, Preprocess, ClientData, int], StepLoop]
"""(client trainer, preprocessing, samples, round) -> what takes the steps of a client's round."""


class Sequential(Executor):
    """One client after another: supports everything."""

    trains_one: ClassVar[bool] = True

    @cached_property
    def wide(self) -> WideLayers | None:
        """The dense layers that may take low-rank form."""
        trainer, few = self.setting.trainer, self.setting.preprocess.inputs(self.setting.few)
        return WideLayers.of(trainer, self.setting.dense_layers, few)

    def supports(self, cohort: Cohort) -> bool:
        """Always."""
        return True

    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """See `Executor.train`."""
        trained: list[Trained] = []
        for client, state, data in zip(cohort.clients, cohort.states, cohort.datas, strict=True):
            one = train_one(
                self.setting.trainer,
                self.setting.preprocess,
                cohort.received,
                state,
                data,
                batch_size=self.setting.batch_size,
                seed=self.setting.seed,
                client=client,
                wide=self.wide,
                summed=into is not None,
            )
            trained += add([one], into)
        return trained


def train_one(
    trainer: ClientTrainer,
    preprocess: Preprocess,
    received: Received,
    client_state: ClientState,
    data: ClientData,
    *,
    batch_size: int | Literal["full"],
    seed: int,
    client: int,
    wide: WideLayers | None = None,
    summed: bool = False,
    portion: Portion | None = None,
    loop: MakeLoop = StepLoop,
) -> tuple[Update, dict[str, float]]:
    """Runs all phases of a round for one client.

    Args:
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        received: What came down; not written to.
        client_state: The client's state; not written to.
        data: The client's samples.
        batch_size: Samples per step.
        seed: The scenario's seed; order, augmentation and dropout are keyed on it, the client and
            the round.
        client: The client's index.
        wide: The layers of the network that may take low-rank form, or None.
        summed: Whether the update will only be added to those of other clients; weights in
            low-rank form may then be `fedlab.federation.low_rank_sum.LowRankSum`.
        portion: The part of the round to run; all of it by default.
        loop: What takes the steps; by default one operation after the other.

    Returns:
        The update, and the metrics averaged over samples, with ``num-examples`` (distinct samples
        used) and ``steps``.
    """
    round_ = received.server_round
    data = trainer.training_data(data, received, client_state)
    schedule = plan_round(
        trainer, data, batch_size=batch_size, seed=seed, client=client, server_round=round_
    )
    if portion:
        schedule = portion.of(schedule)
    if wide:
        trainer = wide.choose(LayerWork.of(schedule))
    augment = rng.torch_generator(seed, "augment", client, round_)
    feeds = partial(_feeds, trainer, preprocess, received, data, augment)
    trainer.set_train_mode(received)
    taken = loop(trainer, preprocess, data, round_)
    with (
        rng.seeded(seed, "dropout", client, round_),
        quick_passes(trainer, captured=loop is not StepLoop),
    ):
        carry = trainer.begin(received, client_state, client_stats_of(trainer, data))
        if wide:
            carry = wide.begin(carry, received, schedule.seen)
        for phase, steps in zip(trainer.phases(), schedule.phases, strict=True):
            if phase.enter:
                carry = phase.enter(carry)
            carry = taken.run(carry, phase, feeds(phase, steps), measured=phase.learns)
            while steps and not portion and phase.again and phase.again(carry):
                carry = taken.run(carry, phase, feeds(phase, steps), measured=False)
        if wide:
            carry = wide.finish(carry, summed)
        update = trainer.finish(carry, received, schedule.steps)
    means, own = taken.read(update.metrics)
    return update, schedule.metrics(
        {name: total / schedule.learnt for name, total in means.items()},
        update._replace(metrics=own),
    )


def _feeds(
    trainer: ClientTrainer,
    preprocess: Preprocess,
    received: Received,
    data: ClientData,
    augment: torch.Generator,
    phase: Phase,
    steps: Sequence[torch.Tensor],
) -> list[Feed]:
    """What a phase's steps on these rows read, on the device of the samples."""
    feeds: list[Feed] = []
    for rows in steps:
        views = None
        if phase.strong_views:
            views = len(rows) - first_of_views(phase, data.labelled[rows])
        noise = trainer.draw(received, len(rows), torch.default_generator)
        feeds.append(Feed.drawn(rows, preprocess, [augment], views, noise))
    return send(feeds, data.inputs.device)


def client_stats_of(trainer: ClientTrainer, data: ClientData) -> ClientStats:
    """Class counts and number of a client's samples."""
    task = trainer.task
    counts = data.counts(task.target, task.classes)
    return ClientStats(counts, len(data.labels), data.known)
