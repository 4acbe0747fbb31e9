"""One step of a phase as a function of tensors at fixed addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedlab.clients.base import Carry, ClientTrainer, Phase
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.captured.capture import NotCapturableError
from fedlab.engine.execution.captured.static_state import (
    Place,
    StaticCarry,
    StaticFeed,
    StaticSamples,
    feed_of,
    places_of,
)
from fedlab.engine.execution.feed import Feed
from fedlab.engine.execution.step_loop import PlacedSamples, batch_of
from fedlab.records import Tensors


class StaticStep:
    """Reads a batch, takes the client trainer's step, and puts all results back in place.

    What is in it is what `StepLoop` does for one step: gathering and changing the batch, the
    trainer's `step` (forward and backward pass, the method's changes of gradients, clipping, the
    optimiser), and the sums of metrics.

    Args:
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        phase: The phase.
        server_round: The round, from 1.
        samples: Where samples are.
        state: Where the carry is.
        sums: Where metrics are added up, by name; `first` adds those that are missing.
        like: What a step of this shape reads.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        phase: Phase,
        server_round: int,
        samples: StaticSamples,
        state: StaticCarry,
        sums: Tensors,
        like: Feed,
    ) -> None:
        self.trainer = trainer
        self.preprocess = preprocess
        self.phase = phase
        self.server_round = server_round
        self.samples = samples
        self.state = state
        self.sums = sums
        self.feed = StaticFeed(like)
        self.like = like._replace(strong=None)
        self.size = like.rows.shape[-1]
        self.metrics: tuple[str, ...] = ()
        """Names of the step's metrics, once it was run."""

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that the step reads and writes."""
        sums = [self.sums[name] for name in self.metrics]
        return [*self.samples.tensors, *self.feed.tensors, *self.state.tensors, *sums]

    def first(self) -> None:
        """Runs the step once as it is written, and learns the names of its metrics.

        Raises:
            NotCapturableError: If its results are not such that a replay could give them.
        """
        metrics = self._advance(self.tensors)
        self.metrics = tuple(metrics)
        for name, value in metrics.items():
            if not isinstance(value, Tensor) or value.device.type != self.device.type:
                raise NotCapturableError(f"the metric '{name}' of its steps is not on the device")
            self.sums.setdefault(name, torch.zeros((), device=self.device))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.samples.labels.device

    def __call__(self, tensors: Sequence[Tensor]) -> None:
        """The step on tensors that stand for `tensors`, in their order."""
        metrics = self._advance(tensors)
        sums = tensors[len(tensors) - len(self.metrics) :]
        with torch.no_grad():
            for total, name in zip(sums, self.metrics, strict=True):
                total += metrics[name].detach() * self.size

    def _advance(self, tensors: Sequence[Tensor]) -> Mapping[str, Any]:
        """Takes the step; returns its metrics, none in a phase that does not learn."""
        at = {id(mine): given for mine, given in zip(self.tensors, tensors, strict=True)}
        samples = PlacedSamples(*(at[id(tensor)] for tensor in self.samples.tensors))
        feed = feed_of(self.like, [at[id(tensor)] for tensor in self.feed.tensors])
        carry = self.state.placed(at)
        before = dict(places_of(carry))
        batch = batch_of(self.preprocess, samples, feed, self.phase)
        after, metrics = self.trainer.step(carry, batch, self.phase, self.server_round)
        _put_back(before, after)
        return metrics if self.phase.learns else {}


def _put_back(before: Mapping[Place, Tensor], after: Carry) -> None:
    """Copies the tensors of a carry that a step has made anew to where they were before.

    Raises:
        NotCapturableError: If the step keeps others than before, or of other shapes.
    """
    now = dict(places_of(after))
    if now.keys() != before.keys():
        (name, *_) = sorted(place[-1] for place in now.keys() ^ before.keys())
        raise NotCapturableError(f"a step keeps or drops '{name}', which a replay cannot")
    replaced = [place for place, tensor in now.items() if tensor is not before[place]]
    uses = Counter(id(tensor) for tensor in before.values())
    fixed = {id(tensor) for tensor in before.values()}
    values: list[Tensor] = []
    for place in replaced:
        old, new = before[place], now[place].detach()
        if (new.shape, new.dtype, new.device.type) != (old.shape, old.dtype, old.device.type):
            raise NotCapturableError(f"a step changes the form of '{place[-1]}'")
        if uses[id(old)] > 1:
            raise NotCapturableError(f"a step keeps '{place[-1]}' in several places, and splits it")
        values.append(new.clone() if id(now[place]) in fixed else new)
    with torch.no_grad():
        for place, value in zip(replaced, values, strict=True):
            before[place].copy_(value)
