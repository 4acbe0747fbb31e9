"""The steps of a client's round by replaying captured ones."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlab import constants, rng
from fedlab.clients.base import Carry, ClientTrainer, Phase
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.device_copies import to_host
from fedlab.engine.execution.captured.capture import Capture, NotCapturableError, Replay
from fedlab.engine.execution.captured.static_state import (
    StaticCarry,
    StaticFeed,
    StaticSamples,
    form_of,
)
from fedlab.engine.execution.captured.static_step import StaticStep
from fedlab.engine.execution.feed import Feed
from fedlab.engine.execution.memory import out_of_memory
from fedlab.engine.execution.step_loop import StepLoop
from fedlab.errors import format_error
from fedlab.records import Tensors
from fedlab.training.lists import copied, overwrite

MOST = 64
"""Captured steps that a process keeps; the one that was used longest ago is dropped."""

LONGEST = 200
"""Largest length of PyTorch's message about a step that cannot be captured, in characters."""


@dataclass
class CapturedStep:
    """A step and its replay.

    Attributes:
        step: The step.
        replay: Repeats it on the tensors that it was captured on.
        kept: What the replay reads beside these: constants, and the trainer's attributes.
    """

    step: StaticStep
    replay: Replay
    kept: Any


@dataclass
class Captures:
    """All that a process has captured, for every client and round.

    Attributes:
        capture: What captures steps.
        captured: Whether steps on so many samples are captured; the others run as they are written.
            Must depend on nothing else: a replay may round in another way.
        steps: The captured steps.
        states: Static carries, by their form.
        sums: Metrics of the present client's steps, times their samples.
        samples: The present client's samples.
    """

    capture: Capture
    captured: Callable[[int], bool]
    steps: OrderedDict[Hashable, CapturedStep] = field(default_factory=OrderedDict)
    states: dict[Hashable, StaticCarry] = field(default_factory=dict)
    sums: Tensors = field(default_factory=dict)
    samples: StaticSamples | None = None

    def load(self, data: ClientData, labelled: bool) -> StaticSamples:
        """Copies a client's samples in; more than ever before need larger tensors."""
        if self.samples is None or not self.samples.takes(data, labelled):
            self.steps.clear()
            self.samples = StaticSamples(data, labelled)
        self.samples.load(data)
        return self.samples

    def keep(self, key: Hashable, step: CapturedStep) -> None:
        """Keeps a captured step."""
        self.steps[key] = step
        while len(self.steps) > MOST:
            self.steps.popitem(last=False)


class CapturedLoop(StepLoop):
    """Replays captured steps; captures those that come for the first time.

    Args:
        captures: What this process has captured.
        trainer: The method's client trainer.
        preprocess: Normalises and augments batches.
        samples: The client's samples.
        server_round: The round, from 1.
    """

    def __init__(
        self,
        captures: Captures,
        trainer: ClientTrainer,
        preprocess: Preprocess,
        samples: ClientData,
        server_round: int,
    ) -> None:
        super().__init__(trainer, preprocess, samples, server_round)
        self.captures = captures
        labelled = any(phase.split == "all" for phase in trainer.phases())
        self.there = captures.load(samples, labelled)
        self.number = -1
        self.names: dict[str, None] = {}
        for total in captures.sums.values():
            total.zero_()

    def run(
        self, carry: Carry, phase: Phase, feeds: Sequence[Feed], measured: bool = True
    ) -> Carry:
        """See `StepLoop.run`."""
        self.number += 1
        if not feeds:
            return carry
        form = form_of(carry, self.there.labels.device)
        state = self.captures.states.setdefault(form, StaticCarry(carry))
        state.load(carry)
        conditions = self._conditions(phase)
        for feed in feeds:
            key = (form, StaticFeed.form_of(feed))
            found = self.captures.steps.get((conditions, key))
            if found is None:
                found = self._captured(phase, feed, state)
                conditions = self._conditions(phase)  # a first step may leave what it looked up
                self.captures.keep((conditions, key), found)
            else:
                self.captures.steps.move_to_end((conditions, key))
            found.step.feed.load(feed)
            found.replay()
            self.names |= dict.fromkeys(found.step.metrics)
        return state.copy()

    def _conditions(self, phase: Phase) -> Hashable:
        """What is fixed in a captured step and may change between clients or rounds."""
        modes = tuple(module.training for module in self.trainer.task.model.modules())
        own = tuple((name, _identity(value)) for name, value in vars(self.trainer).items())
        trained = None if phase.trained is None else frozenset(phase.trained)
        lr = self.trainer.task.optimizer.learning_rate(self.server_round)
        return self.number, phase.split, trained, lr, modes, own

    def _captured(self, phase: Phase, feed: Feed, state: StaticCarry) -> CapturedStep:
        """Captures a step; what it reads and writes is afterwards as it was before.

        Raises:
            NotCapturableError: If that cannot be done, with the reason.
        """
        sums = self.captures.sums
        step = StaticStep(
            self.trainer,
            self.preprocess,
            phase,
            self.server_round,
            self.there,
            state,
            sums,
            feed,
        )
        step.feed.load(feed)
        before = {**dict(enumerate(state.tensors)), **sums}
        saved = copied(before)  # type: ignore[arg-type]
        with rng.preserved(), constants.collected() as kept:
            drawn = _host_generators()
            step.first()
            if _host_generators() != drawn:
                raise NotCapturableError(
                    "a step draws random numbers on the host, which a replay would repeat"
                )
            replay = self._replay(step)
        overwrite(list(before.values()), list(saved.values()))
        for name in step.metrics:
            if name not in before:
                sums[name].zero_()
        return CapturedStep(step, replay, (kept, dict(vars(self.trainer))))

    def _replay(self, step: StaticStep) -> Replay:
        tensors = step.tensors
        if not self.captures.captured(step.size):
            return lambda: step(tensors)
        try:
            return self.captures.capture.capture(step, tensors)
        except NotCapturableError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise NotCapturableError(format_error(error, longest=LONGEST)) from error

    def read(self, more: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, Tensor]]:
        """See `StepLoop.read`."""
        sums = [self.captures.sums[name] for name in self.names]
        others = [torch.as_tensor(value).detach() for value in more.values()]
        host = iter(to_host([*sums, *others]))
        return {name: float(next(host)) for name in self.names}, dict(zip(more, host, strict=True))


def _identity(value: object) -> Hashable:
    """Plain values by themselves, others by which object they are."""
    return value if isinstance(value, bool | int | float | str | None) else id(value)


def _host_generators() -> tuple[Any, ...]:
    """The states of the host's random generators."""
    kind, keys, *rest = np.random.get_state()
    of_torch = torch.default_generator.get_state()
    return random.getstate(), kind, np.asarray(keys).tobytes(), rest, of_torch.numpy().tobytes()
