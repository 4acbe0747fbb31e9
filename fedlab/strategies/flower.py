"""Any strategy of Flower's, by name: ``strategy: {name: "flwr:FedAdam", eta: 0.01}``.

A custom subclass of one is named by its module:
``strategy: {name: "flwr:my_module:MyStrategy"}``.

The strategy keeps its own rules of sampling and aggregation. The wrapper changes three things:
its sampling is seeded, it sees trainable tensors alone (Flower's averaging would turn step counters
into floats and an adaptive server would push a running variance below zero), and its arrays are
part of the checkpoint.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError
from torch import nn

from fedlab import rng
from fedlab.errors import RunError
from fedlab.federation.client_updates import mean_metrics
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.flower_compat import message_for
from fedlab.records import Tensors, from_record, to_record
from fedlab.strategies.base import COHORT, ServerSettings, Strategy
from fedlab.strategies.families.flower_parameters import FlowerParameters
from fedlab.virtual_time.clock import CLOCK

if TYPE_CHECKING:
    pass

LIST_MARK = "[]"
REBUILT = ("current_arrays",)  # Flower sets it anew in every round


class SampledGrid(NamedTuple):
    """The part of a grid that Flower's sampling reads, with only the nodes drawn by fedlab."""

    nodes: Sequence[int]

    def get_node_ids(self) -> Iterable[int]:
        """All of them."""
        return self.nodes


class Flower(Strategy[FlowerParameters]):
    """Runs a Flower strategy inside one of fedlab's."""

    needs_only_mean = False
    takes_changed_updates = False

    def __init__(
        self,
        model: nn.Module,
        parameters: FlowerParameters | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters or FlowerParameters(name="flwr:FedAvg"), settings)
        chosen = self.parameters
        learning = set(self.anatomy.learning)
        self.trainable = [name for name in self.shared if name in learning]
        arguments: dict[str, Any] = dict(chosen.arguments)
        if "train_loss_key" in inspect.signature(chosen.constructor).parameters:
            arguments["train_loss_key"] = "loss"
        self.inner = chosen.constructor(
            **arguments,
            fraction_train=self.settings.fraction_train if self.clock is None else 1.0,
            fraction_evaluate=self.settings.fraction_evaluate,
            min_train_nodes=1,
            min_evaluate_nodes=1,
            min_available_nodes=1,
        )

    def initialise(self, model: Tensors) -> None:
        """The initial model, trainable tensors and buffers."""
        super().initialise(model)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, with the buffers added to what it sends."""
        self._adopt(arrays)
        self._restore()
        if self.clock is not None:
            drawn = self.cohort(server_round, grid, COHORT, self.settings.fraction_train)
            grid = cast(Grid, SampledGrid(drawn))
        else:
            grid = self._of_training(grid)
        with self._seeded("cohort", server_round):
            messages = list(
                self.inner.configure_train(server_round, self._inner_arrays(), config, grid)
            )
        return self._with_buffers(messages)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, with the buffers added to what it sends."""
        own = self._of_training(grid)
        with self._seeded("evaluation cohort", server_round):
            messages = list(
                self.inner.configure_evaluate(server_round, self._inner_arrays(), config, own)
            )
        return self._with_buffers(messages)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The inner strategy's aggregate of trainable tensors; the mean of the buffers."""
        replies = list(replies)
        updates = self.accept(server_round, replies)
        if not any(update.examples for update in updates):  # Flower would divide by zero
            return to_record(self.state["arrays"]), mean_metrics(updates)
        kept = [reply for reply in replies if reply.has_content()]
        try:
            aggregated, metrics = self.inner.aggregate_train(
                server_round, [self._trainable_only(reply) for reply in kept]
            )
        except AggregationError as error:
            raise RunError(f"round {server_round}: {self.parameters.name}: {error}") from error
        if aggregated is None:
            raise RunError(f"round {server_round}: {self.parameters.name} returned no model")
        old = self.state["arrays"]
        new = {n: t.to(old[n].dtype) for n, t in from_record(aggregated).items()}
        buffers = [name for name in old if name not in new]
        mean = weighted_mean(
            [{name: u.arrays["arrays"][name] for name in buffers} for u in updates],
            [self.weight(update) for update in updates],
            self.anatomy.kept_whole,
        )
        self.state["arrays"] = {name: new.get(name, mean.get(name, old[name])) for name in old}
        self.settle(updates)
        self._remember()
        return to_record(self.state["arrays"]), metrics

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The inner strategy's mean of the clients' metrics."""
        replies = list(replies)
        if not replies:
            return None
        updates = self.accept(server_round, replies)
        if not any(update.examples for update in updates):
            return mean_metrics(updates)
        return self.inner.aggregate_evaluate(server_round, [r for r in replies if r.has_content()])

    # ------------------------------------------------------------------ around the inner strategy

    def _of_training(self, grid: Grid) -> Grid:
        """The grid without held-out clients."""
        if not self.settings.held_out:
            return grid
        return cast(Grid, SampledGrid(self.settings.may_train(grid.get_node_ids())))

    @contextmanager
    def _seeded(self, purpose: str, server_round: int) -> Generator[None]:
        """Seeds Python's global generator, by which Flower samples."""
        before = random.getstate()
        random.seed(rng.seed_of(self.settings.seed, purpose, server_round))
        try:
            yield
        finally:
            random.setstate(before)

    def _inner_arrays(self) -> ArrayRecord:
        return to_record({name: self.state["arrays"][name] for name in self.trainable})

    def _with_buffers(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Replaces the arrays of each distinct content by the whole model, once."""
        whole = to_record(self.state["arrays"])
        done: dict[int, RecordDict] = {}
        for message in messages:
            content = message.content
            if id(content) not in done:
                done[id(content)] = RecordDict({**content, "arrays": whole})
        for message in messages:
            message.content = done[id(message.content)]
        return messages

    def _trainable_only(self, reply: Message) -> Message:
        record = reply.content.array_records["arrays"]
        arrays = ArrayRecord()
        for name in self.trainable:
            arrays[name] = record[name]
        content = RecordDict({"arrays": arrays, "metrics": reply.content["metrics"]})
        return message_for(reply.metadata, content)

    def _remember(self) -> None:
        """Copies the inner strategy's arrays (moments, momentum) into the checkpointed state."""
        for attribute, value in vars(self.inner).items():
            arrays = dict(enumerate(value)) if isinstance(value, list) else value
            if attribute in REBUILT or not isinstance(arrays, dict) or not arrays:
                continue
            if all(isinstance(array, np.ndarray) for array in arrays.values()):
                key = attribute + LIST_MARK * isinstance(value, list)
                self.state[key] = {str(n): torch.from_numpy(a.copy()) for n, a in arrays.items()}

    def _restore(self) -> None:
        """Copies them back into the inner strategy, which is new after a run was resumed."""
        for key, tensors in self.state.items():
            attribute = key.removesuffix(LIST_MARK)
            if key in ("arrays", CLOCK) or getattr(self.inner, attribute, None) is not None:
                continue
            arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
            value = [arrays[str(i)] for i in range(len(arrays))] if key != attribute else arrays
            setattr(self.inner, attribute, value)
