"""A grid that runs clients in this process: for tests, notebooks and debuggers."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

import numpy as np
import torch
from flwr.app import Message, RecordDict

from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.grid import LATE, ClientGrid
from fedlab.engine.work_units import WorkUnit, client_task_of, clients_per_batch
from fedlab.engine.worker import ClientTask, Worker
from fedlab.flower_compat import error_reply
from fedlab.records import payload_bytes


class LocalGrid(ClientGrid):
    """Answers every message in this process.

    Args:
        runtime: Data, network and client trainer of the scenario.
        threads: PyTorch threads while clients run. With as many as a Ray actor has, results have
            the same bytes as with Ray.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        partition = runtime.partition
        super().__init__(
            np.diff(partition.train_offsets),  # type: ignore[arg-type]
            clients_per_batch(partition, runtime.scenario.evaluation.batch_size),
        )
        self.worker = Worker(runtime)
        self.threads = threads

    def _choose(self, messages: Sequence[Message]) -> ExecutionPlan:
        tasks = [client_task_of(message) for message in messages]
        with self._threads():
            return self.worker.choose(messages[0].content, tasks, self._states(tasks))

    def _execute(self, units: Sequence[WorkUnit], timeout: float | None) -> Iterator[Message]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._threads():
            for unit, following in zip_longest(units, units[1:]):
                yield from self._answer(unit, following.clients if following else (), deadline)

    def _answer(self, unit: WorkUnit, ahead: Sequence[int], deadline: float) -> Iterator[Message]:
        messages, tasks = unit.messages, unit.tasks
        answered = None
        if time.monotonic() <= deadline:
            work = messages[0].content, tasks, self._states(tasks)
            how = unit.together, unit.where, ahead, self.form
            answered = self.worker.answer(*work, *how)
        if answered is None or time.monotonic() > deadline:
            unit.lose()
            for message, task in zip(messages, tasks, strict=True):
                yield error_reply(message, f"client {task.client}: {LATE}")
            return
        unit.take(answered.sums)
        for task, answer in zip(tasks, answered.answers, strict=True):
            if answer.state is not None:
                self._keep(task.client, *self._hold(answer.state))
            yield answer.reply

    def _states(self, tasks: Sequence[ClientTask]) -> list[RecordDict | None]:
        return [self.states.get(task.client) for task in tasks]

    @contextmanager
    def _threads(self) -> Generator[None]:
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
