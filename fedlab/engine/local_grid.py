"""Clients in this very process: for tests, notebooks and debuggers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Message, RecordDict

from fedlab.engine.execution.mode import Choice
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.grid import LATE, ClientGrid
from fedlab.engine.work_units import Portion, clients_per_batch, job_of
from fedlab.engine.worker import Job, Worker
from fedlab.flower_compat import error_reply
from fedlab.records import payload_bytes


class LocalGrid(ClientGrid):
    """Answers every message in this process.

    Args:
        runtime: Data, network and local half of the scenario.
        threads: PyTorch threads while clients run. As many as a Ray actor has give the same bytes
            as Ray.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        partition = runtime.partition
        super().__init__(
            np.diff(partition.train_offsets),  # type: ignore[arg-type]
            clients_per_batch(partition, runtime.scenario.evaluation.batch_size),
        )
        self.worker = Worker(runtime)
        self.threads = threads

    def _choose(self, messages: Sequence[Message]) -> Choice:
        jobs = [job_of(message) for message in messages]
        with self._threads():
            return self.worker.choose(messages[0].content, jobs, self._states(jobs))

    def _execute(self, portions: Sequence[Portion], timeout: float | None) -> Iterator[Message]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._threads():
            for portion in portions:
                yield from self._answer(portion, deadline)

    def _answer(self, portion: Portion, deadline: float) -> Iterator[Message]:
        messages, jobs = portion.messages, portion.jobs
        answered = None
        if time.monotonic() <= deadline:
            answered = self.worker.answer(
                messages[0].content, jobs, self._states(jobs), portion.together, portion.where
            )
        if answered is None or time.monotonic() > deadline:
            portion.lose()
            for message, job in zip(messages, jobs, strict=True):
                yield error_reply(message, f"client {job.client}: {LATE}")
            return
        portion.take(answered.sums)
        for job, answer in zip(jobs, answered.answers, strict=True):
            if answer.state is not None:
                self._keep(job.client, *self._hold(answer.state))
            yield answer.reply

    def _states(self, jobs: Sequence[Job]) -> list[RecordDict | None]:
        return [self.states.get(job.client) for job in jobs]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _hold(self, record: RecordDict) -> tuple[RecordDict, int]:
        return record, payload_bytes(record)

    def _fetch(self, state: RecordDict) -> RecordDict:
        return state
