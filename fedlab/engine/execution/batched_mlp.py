"""A local round of many clients in batched products, for networks that are chains of dense layers.

`fedlab.engine.execution.vmapped` supports more networks and methods, by `torch.func.vmap`. Small
dense networks gain most from stacking clients, and for them this file writes the stack out: every
dense layer is one batched product, activations act on all clients' samples at once, and the
gradient of the summed losses by a client's tensors is that client's gradient. Wide layers with few
samples take their low-rank form (`fedlab.engine.execution.low_rank`). Short batches are padded with
samples of weight 0, which have no effect as no layer of such a network mixes samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Carry, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.batch_schedule import Schedule, plan_rounds
from fedlab.engine.execution.dense_layer import DenseLayer
from fedlab.engine.execution.executor import Cohort, Executor, Trained, add
from fedlab.engine.execution.low_rank import FirstLayer, LaterLayer, places
from fedlab.engine.execution.low_rank_rule import (
    Form,
    LayerWork,
    sends_the_model,
    takes_usual_steps,
)
from fedlab.engine.execution.padded_steps import PaddedSteps, stacked_with_zeros
from fedlab.federation.preaggregation import Preaggregation
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.models.dense_chain import Chain
from fedlab.records import Tensors
from fedlab.targets.classes import Classes


def chain_of(trainer: ClientTrainer, preprocess: Preprocess) -> Chain | None:
    """The network as a chain, or None if the method or the network is not supported here."""
    own = ("begin", "personal_model", "set_train_mode", "training_data")
    usual = (
        all(getattr(type(trainer), name) is getattr(ClientTrainer, name) for name in own)
        and takes_usual_steps(trainer)
        and type(trainer.task.loss) is CrossEntropy
        and type(trainer.task.target) is Classes
        and trainer.task.precision == "float32"
        and not (trainer.local or trainer.task.optimizer.spec.clip_norm or preprocess.augments)
    )
    return Chain.of(trainer.task.model) if usual else None


class BatchedMLP(Executor):
    """Chains of dense layers, for methods that train and send the model as FedAvg does."""

    @cached_property
    def chain(self) -> Chain | None:
        """The network as a chain of dense layers, or None."""
        return chain_of(self.setting.trainer, self.setting.preprocess)

    def supports(self, cohort: Cohort) -> bool:
        """Whether the network is a chain and no client keeps a state."""
        return self.chain is not None and not any(cohort.states)

    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """See `Executor.train`; with `into`, single clients' weights are not formed."""
        assert self.chain is not None
        inside = into if sends_the_model(self.setting.trainer) else None
        trained = train_batched(
            self.chain,
            self.setting.trainer,
            self.setting.preprocess,
            cohort.received,
            cohort.datas,
            batch_size=self.setting.batch_size,
            seed=self.setting.seed,
            clients=cohort.clients,
            linear=self.setting.dense_layers,
            into=inside,
        )
        return trained if inside is not None else add(trained, into)


def train_batched(
    chain: Chain,
    trainer: ClientTrainer,
    preprocess: Preprocess,
    received: Received,
    datas: Sequence[ClientData],
    *,
    batch_size: int | Literal["full"],
    seed: int,
    clients: Sequence[int],
    linear: Form = "auto",
    into: Preaggregation | None = None,
) -> list[tuple[Update, dict[str, float]]]:
    """Runs a round for many clients that received the same and keep no state.

    Numbers differ from those of `train_one` by rounding only.

    Args:
        chain: The result of `chain_of`.
        trainer: The method's client trainer.
        preprocess: Normalises samples.
        received: What came down; not written to.
        datas: The clients' samples.
        batch_size: Samples per step.
        seed: The scenario's seed; the order of samples is keyed on it, the client and the round.
        clients: The clients' indices.
        linear: How dense layers are computed.
        into: Sum to which the updates are added; only for methods that `sends_the_model`.

    Returns:
        For each client what `train_one` returns; with `into`, updates have no tensors.
    """
    round_ = received.server_round
    schedules = plan_rounds(
        trainer, datas, batch_size=batch_size, seed=seed, clients=clients, server_round=round_
    )
    # Sorted by steps, the clients of every step are a prefix: a slice instead of a copy.
    order = sorted(range(len(clients)), key=lambda k: -schedules[k].steps)
    planned = [schedules[k] for k in order]
    steps = PaddedSteps(planned)
    work = LayerWork(
        steps=len(steps.widths),
        seen=sum(steps.widths),
        samples=max(len(data.labels) for data in datas),
    )
    side = _SideBySide(
        chain, trainer, preprocess, received, [datas[k] for k in order], steps, work, linear
    )
    lr = trainer.task.optimizer.learning_rate(round_)
    for step in range(len(steps.widths)):
        side.step(step, lr)
    ended = list(side.finish(planned) if into is None else side.add_up(planned, into))
    results = dict(zip(order, ended, strict=True))
    return [results[k] for k in range(len(clients))]


class _SideBySide:
    """The stacked samples and layers of many clients.

    Args:
        chain: The network.
        trainer: The method's client trainer.
        preprocess: Normalises samples.
        received: What came down.
        datas: The clients' samples.
        steps: Which of them are read in every step.
        work: Steps and samples of the client with the most steps.
        linear: How dense layers are computed.
    """

    def __init__(
        self,
        chain: Chain,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        received: Received,
        datas: Sequence[ClientData],
        steps: PaddedSteps,
        work: LayerWork,
        linear: Form,
    ) -> None:
        self.chain, self.trainer, self.received = chain, trainer, received
        labels = stacked_with_zeros([data.labels for data in datas])
        stored = stacked_with_zeros([data.inputs for data in datas])
        samples = preprocess.inputs(stored, own=True).flatten(0, 1)
        for module in chain.before:
            samples = module(samples)
        self.samples = samples.view(*labels.shape, samples.shape[-1])
        self.steps, self.rows = steps, steps.rows.to(labels.device)
        self.labels = labels.take_along_dim(self.rows.flatten(1), dim=1).view_as(self.rows)
        self.real = steps.real.to(self.samples)
        self.share = self.real / steps.lengths.unsqueeze(2).to(self.samples)
        self.losses = self.samples.new_zeros(len(datas))
        self.hits = self.samples.new_zeros(len(datas))
        self.first = self._first_layer(work, linear)
        self.later = [self._later_layer(number, work, linear) for number in range(1, len(chain))]

    def _weights(self, number: int) -> tuple[Tensor, Tensor | None]:
        """Initial weight and bias of a layer."""
        state = self.trainer.personal_model(self.received, {})
        weight, bias = self.chain.names[number]
        return state[weight], state[bias] if bias else None

    def _first_layer(self, work: LayerWork, linear: Form) -> FirstLayer | DenseLayer:
        start, optimizer = self._weights(0), self.trainer.task.optimizer
        if work.low_rank_first(start[0], optimizer, linear):
            return FirstLayer(*start, self.samples, optimizer)
        return DenseLayer(*start, len(self.samples), optimizer, work.steps)

    def _later_layer(self, number: int, work: LayerWork, linear: Form) -> LaterLayer | DenseLayer:
        start, optimizer = self._weights(number), self.trainer.task.optimizer
        if work.low_rank_later(start[0], optimizer, linear):
            return LaterLayer(*start, len(self.samples), work.seen, optimizer)
        return DenseLayer(*start, len(self.samples), optimizer, work.steps)

    def step(self, number: int, lr: float) -> None:
        """One optimiser step of the clients that take it, with a learning rate."""
        per_step = self.rows, self.labels, self.real, self.share
        rows, labels, real, share = (self.steps.part(of, number) for of in per_step)
        clients, batch = rows.shape
        outputs = self._outputs(rows)
        losses = cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
        losses = losses.view(clients, batch)
        layers = [self.first, *self.later]
        probes = [probe for layer in layers for probe in layer.probes]
        grads = iter(torch.autograd.grad(losses, probes, share))
        for layer in layers:
            layer.learn([next(grads) for _ in layer.probes], lr)
        self.losses[:clients] += (losses.detach() * real).sum(dim=1)
        self.hits[:clients] += ((outputs.detach().argmax(dim=2) == labels) * real).sum(dim=1)

    def _outputs(self, rows: Tensor) -> Tensor:
        """The network's outputs for rows of the first clients."""
        if isinstance(self.first, FirstLayer):
            outputs = self.first.outputs(rows)
        else:
            every = self.samples.flatten(0, 1)
            samples = every.index_select(0, places(rows, self.samples.shape[1]))
            outputs = self.first.outputs(samples.unflatten(0, rows.shape))
        for layer, between in zip(self.later, self.chain.between, strict=True):
            for module in between:
                outputs = module(outputs)
            outputs = layer.outputs(outputs)
        for module in self.chain.after:
            outputs = module(outputs)
        return outputs

    def finish(self, schedules: Sequence[Schedule]) -> Iterator[tuple[Update, dict[str, float]]]:
        """Each client's update and metrics."""
        stacked = {}
        for layer, (weight, bias) in zip([self.first, *self.later], self.chain.names, strict=True):
            stacked[weight] = layer.weights()
            if bias:
                stacked[bias] = layer.biases()
        for client, (schedule, means) in enumerate(
            zip(schedules, self._means(schedules), strict=True)
        ):
            parameters = {name: tensors[client] for name, tensors in stacked.items()}
            carry = Carry(parameters, {}, {}, {})
            update = self.trainer.finish(carry, self.received, schedule.steps)
            yield update, schedule.metrics(means, update)

    def add_up(
        self, schedules: Sequence[Schedule], into: Preaggregation
    ) -> Iterator[tuple[Update, dict[str, float]]]:
        """Adds the clients' updates to `into`; yields updates without tensors, and metrics."""
        nothing = Update({}, {})
        metrics = [
            schedule.metrics(means, nothing)
            for schedule, means in zip(schedules, self._means(schedules), strict=True)
        ]
        weights = into.weights(metrics)
        sums: Tensors = {}
        for layer, (weight, bias) in zip([self.first, *self.later], self.chain.names, strict=True):
            sums[weight], biases = layer.sums(weights)
            if bias and biases is not None:
                sums[bias] = biases
        shared = self.trainer.shared
        into.merge(
            WeightedSum.of(
                {"arrays": {name: sums[name] for name in shared}},
                {"arrays": dict.fromkeys(shared, self.samples.dtype)},
                weights,
            )
        )
        return ((nothing, each) for each in metrics)

    def _means(self, schedules: Sequence[Schedule]) -> Iterator[dict[str, float]]:
        """Mean loss and accuracy of each client; empty for clients without a step."""
        losses, hits = self.losses.tolist(), self.hits.tolist()
        for loss, hit, schedule in zip(losses, hits, schedules, strict=True):
            seen = schedule.seen
            yield {"loss": loss / seen, "accuracy": hit / seen} if seen else {}
