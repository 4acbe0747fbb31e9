"""Executors that capture a client's steps once and replay them for all clients and rounds."""

from __future__ import annotations

import logging
from abc import abstractmethod
from functools import cached_property, partial
from typing import ClassVar

import torch

from fedlab.engine.execution.captured.capturable import GRAPHS, why_not
from fedlab.engine.execution.captured.capture import Capture, NotCapturableError
from fedlab.engine.execution.captured.captured_loop import CapturedLoop, Captures
from fedlab.engine.execution.captured.compiled_steps import CompiledSteps
from fedlab.engine.execution.executor import Cohort, Executor, Trained, add
from fedlab.engine.execution.sequential import train_one
from fedlab.federation.preaggregation import Preaggregation

log = logging.getLogger("fedlab")


class Captured(Executor):
    """One client after another, by replaying steps.

    Supports what `fedlab.engine.execution.captured.capturable` says, until a step cannot be
    captured: then this process goes on without.
    """

    trains_one: ClassVar[bool] = True
    named: ClassVar[str]
    """What captured steps are, in words."""

    failed: str | None = None
    """Why a step could not be captured."""

    @cached_property
    def captures(self) -> Captures:
        """What this process has captured."""
        return Captures(self.new_capture(), self.captures_steps_of)

    @abstractmethod
    def new_capture(self) -> Capture:
        """What captures steps."""

    def captures_steps_of(self, samples: int) -> bool:
        """Whether steps on so many samples are captured."""
        return True

    @property
    def device(self) -> torch.device:
        """Where clients train."""
        return self.setting.few.device

    def supports(self, cohort: Cohort) -> bool:
        """Whether steps are such that they can be captured, and none has failed to be."""
        return self.failed is None and self.why_not is None

    @cached_property
    def why_not(self) -> str | None:
        """Why no step is captured, in words; None if they are."""
        return why_not(self.setting.execution, self.setting.trainer, self.setting.batch_size)

    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """See `Executor.train`."""
        trained: list[Trained] = []
        for client, state, data in zip(cohort.clients, cohort.states, cohort.datas, strict=True):
            alone = partial(
                train_one,
                self.setting.trainer,
                self.setting.preprocess,
                cohort.received,
                state,
                data,
                batch_size=self.setting.batch_size,
                seed=self.setting.seed,
                client=client,
            )
            if self.failed is None:
                try:
                    trained += add([alone(loop=partial(CapturedLoop, self.captures))], into)
                    continue
                except NotCapturableError as error:
                    self._give_up(error)
            trained += add([alone()], into)
        return trained

    def _give_up(self, error: NotCapturableError) -> None:
        self.failed = str(error)
        del self.captures
        log.warning("clients train one by one without %s: %s", self.named, error)


class Graphed(Captured):
    """Steps are CUDA graphs, one for each shape of a batch."""

    named: ClassVar[str] = "CUDA graphs"

    def new_capture(self) -> Capture:
        """Graphs of the device."""
        return GRAPHS[self.device.type]()

    def supports(self, cohort: Cohort) -> bool:
        """Whether the device has graphs, too: that of a scenario's own clients may have none."""
        return super().supports(cohort) and self.device.type in GRAPHS


class Compiled(Captured):
    """Full batches are steps of compiled code.

    The rest of a pass, whose size differs between clients, is trained as it is written instead of
    compiled for seconds.
    """

    named: ClassVar[str] = "compiled steps"

    def new_capture(self) -> Capture:
        """The compiler."""
        return CompiledSteps()

    def captures_steps_of(self, samples: int) -> bool:
        """Full batches."""
        return samples == self.setting.batch_size
