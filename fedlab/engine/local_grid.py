"""Clients in this very process: for tests, notebooks and debuggers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Message, RecordDict

from fedlab.engine.execution import Choice
from fedlab.engine.grid import LATE, SimulationGrid, job_of
from fedlab.engine.runtime import Runtime
from fedlab.engine.worker import Job, Worker
from fedlab.flower_compat import error_reply


class LocalGrid(SimulationGrid):
    """Answers every message in this process.

    Args:
        runtime: Data, network and local half of the scenario.
        threads: PyTorch threads while clients run. As many as a Ray actor has give the same bytes
            as Ray.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        super().__init__(np.diff(runtime.partition.train_offsets))  # type: ignore[arg-type]
        self.worker = Worker(runtime)
        self.threads = threads

    def _choose(self, messages: Sequence[Message]) -> Choice:
        with self._threads():
            return self.worker.choose(messages[0].content, *self._jobs(messages))

    def _execute(
        self, groups: Sequence[Sequence[Message]], timeout: float | None
    ) -> Iterator[Message]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._threads():
            for group in groups:
                stacks = self._together(group)
                for portion in stacks or [[message] for message in group]:
                    yield from self._answer(portion, bool(stacks), deadline)

    def _answer(
        self, messages: Sequence[Message], together: bool, deadline: float
    ) -> Iterator[Message]:
        answers = []
        if time.monotonic() <= deadline:
            jobs, states = self._jobs(messages)
            answers = self.worker.answer(messages[0].content, jobs, states, together)
        if time.monotonic() > deadline:
            for message in messages:
                yield error_reply(message, f"client {job_of(message).client}: {LATE}")
            return
        for message, answer in zip(messages, answers, strict=True):
            if answer.state is not None:
                client = job_of(message).client
                self.states[client] = answer.state
                self.changed.add(client)
            yield answer.reply

    def _jobs(self, messages: Sequence[Message]) -> tuple[list[Job], list[RecordDict | None]]:
        jobs = [job_of(message) for message in messages]
        return jobs, [self.states.get(job.client) for job in jobs]

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def export_states(self, clients: Iterable[int]) -> dict[int, RecordDict]:
        """What these clients keep."""
        return {client: self.states[client] for client in clients if client in self.states}

    def import_states(self, states: Mapping[int, RecordDict]) -> None:
        """Puts client states back."""
        self.states = dict(states)

    def close(self) -> None:
        """Nothing to release."""
