"""Passes through the network in a client's round: counted in one step of each phase of a method."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.batch_schedule import Portion
from fedlab.engine.execution.client_samples import training_samples
from fedlab.engine.execution.round_workload import RoundWorkload
from fedlab.engine.execution.sequential import train_one
from fedlab.methods import client_trainer_class, strategy_class
from fedlab.models.anatomy.observed import same_chance
from fedlab.models.copies import copy_of
from fedlab.partition.partition import Partition
from fedlab.scenario import Scenario
from fedlab.server_app import server_settings
from fedlab.training.lists import copied
from fedlab.training.task import Batch

log = logging.getLogger("fedlab")

FEW = 2
"""Samples of a step that is counted, where all samples of a phase are treated alike."""

OUTSIDE = -1
"""The place of passes that are made in no step."""


@dataclass(frozen=True)
class RoundPasses:
    """What a local round asks of a client, the mean over the clients that may train.

    Attributes:
        forward: Samples that go forward through the network; one that goes through twice counts
            twice.
        backward: Samples whose gradients go back through it, through the whole of it or a part.
        labelled: Samples of an optimiser step whose label may be used.
        unlabelled: The other samples of such a step.
    """

    forward: float
    backward: float
    labelled: float
    unlabelled: float

    def numbers(self) -> dict[str, float]:
        """All of them, by name."""
        return asdict(self)


def count_passes(
    scenario: Scenario,
    data: FederatedData,
    partition: Partition,
    trainer: ClientTrainer,
    work: RoundWorkload,
) -> RoundPasses | None:
    """Runs one step of each phase for a client, and scales what is counted by all steps there are.

    How often a sample goes through the network does not depend on the sample, so that this is
    exact. Nothing is kept of these steps, and no generator is advanced.

    Args:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        trainer: The method's client trainer; it is left as it is.
        work: What each client reads in a round.

    Returns:
        None where it is not known before the first round: the method asks clients questions
        first, adds samples to theirs, runs the network outside of steps, or fails here.
    """
    asks = strategy_class(scenario).overrides("before_rounds", "before_training")
    if asks or type(trainer).training_data is not ClientTrainer.training_data:
        return None
    clients = np.setdiff1d(np.arange(len(partition)), partition.held_out)
    # The first client with samples for the largest number of kinds of passes.
    kinds = (work.own > 0).sum(axis=0) + (work.beside > 0).sum(axis=0)
    client = int(clients[kinds[clients].argmax()])
    try:
        probe = _Probe(scenario, data, partition, trainer, client)
        few = whole = probe.run(Portion(steps=1, rows=FEW), refuses=not work.beside.any())
        if work.beside.any():
            whole = probe.run(Portion(steps=1))
    except Exception as error:  # a user's own method; its errors are reported when it runs
        log.debug("passes are not counted: %s", error)
        return None
    passes = np.zeros(2)
    for place in range(len(work.own)):
        own, beside = (float(read[place, clients].mean()) for read in (work.own, work.beside))
        each, of_others = few.get(place), whole.get(place)
        if own and (each is None or each.beside):
            return None
        alone = np.zeros(2) if each is None or not each.own else each.passes / each.own
        passes += own * alone
        if beside:
            if of_others is None or not of_others.beside:
                return None
            rest = of_others.passes - of_others.own * alone
            passes += beside * rest / of_others.beside
    if OUTSIDE in few or OUTSIDE in whole:
        return None
    steps = max(int(work.steps[clients].sum()), 1)
    learning = [phase.learns for phase in trainer.phases()]
    taught = float(work.labelled[clients].sum()) / steps
    read = float((work.own + work.beside)[learning][:, clients].sum()) / steps
    return RoundPasses(float(passes[0]), float(passes[1]), taught, read - taught)


@dataclass
class _Counted:
    """What one step of a phase has read, and the passes forward and backward that it made."""

    own: int
    beside: int
    passes: np.ndarray


class _Probe:
    """A client's first round with a copy of the trainer, whose passes are counted."""

    def __init__(
        self,
        scenario: Scenario,
        data: FederatedData,
        partition: Partition,
        trainer: ClientTrainer,
        client: int,
    ) -> None:
        self.scenario, self.client = scenario, client
        model = copy_of(trainer.task.model)
        # Not of the trainer's own parameters: those of a method in front of another are the base's.
        task = replace(trainer.task, model=model)
        self.trainer = client_trainer_class(scenario)(scenario.strategy, task)
        self.preprocess = Preprocess(scenario.data, data)
        self.samples = training_samples(
            data, partition[client], self.preprocess, torch.device("cpu")
        )
        self.received = self._first_message(len(partition) - len(partition.held_out))
        self.phases = self.trainer.phases()
        self.counts: dict[int, _Counted] = {}
        self.place = OUTSIDE
        vars(self.trainer).update(phases=lambda: self.phases, step=self._step)
        model.register_forward_hook(self._forward)

    def _first_message(self, clients: int) -> Received:
        model = self.trainer.task.model
        server = strategy_class(self.scenario)(
            model, self.scenario.strategy, server_settings(self.scenario)
        )
        server.rounds, server.population = self.scenario.rounds, clients
        server.initialise({name: t.detach().clone() for name, t in model.state_dict().items()})
        sent = server.broadcast(1) | server.sent_to(0)
        down = {record: copied(tensors) for record, tensors in sent.items()}
        return Received(down, server.config(1))

    def run(self, portion: Portion, refuses: bool = False) -> dict[int, _Counted]:
        """Counts of the phases that took a step, by their place; `OUTSIDE` is none of them.

        Args:
            portion: How much of the round is run.
            refuses: Whether the method may want more samples than a few; it then gets a batch.
        """
        try:
            return self._run(portion)
        except Exception:
            if not refuses:
                raise
            return self._run(replace(portion, rows=None))

    def _run(self, portion: Portion) -> dict[int, _Counted]:
        self.counts = {}
        with same_chance():
            train_one(
                self.trainer,
                self.preprocess,
                self.received,
                {},
                self.samples,
                batch_size=self.scenario.training.batch_size,
                seed=self.scenario.seed,
                client=self.client,
                portion=portion,
            )
        return self.counts

    def _step(
        self, carry: Carry, batch: Batch, phase: Phase, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        self.place = next(k for k, each in enumerate(self.phases) if each is phase)
        read = len(batch.labels)
        known = int(self.samples.labelled[batch.indices.cpu()].sum())
        own = read if phase.unlabelled is None else known
        self.counts[self.place] = _Counted(own, read - own, np.zeros(2))
        try:
            return type(self.trainer).step(self.trainer, carry, batch, phase, server_round)
        finally:
            self.place = OUTSIDE

    def _forward(self, model: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        samples = len(outputs)
        counted = self.counts.setdefault(self.place, _Counted(0, 0, np.zeros(2)))
        counted.passes[0] += samples
        if outputs.requires_grad:

            def backward(gradient: torch.Tensor) -> None:
                counted.passes[1] += samples

            outputs.register_hook(backward)
