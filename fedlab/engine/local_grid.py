"""Clients in this very process, one after another: for tests, notebooks and debuggers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from flwr.app import Message, RecordDict

from fedlab.engine.grid import LATE, SimulationGrid, by_content, job_of
from fedlab.engine.runtime import Runtime
from fedlab.engine.worker import Worker
from fedlab.flower_compat import error_reply


class LocalGrid(SimulationGrid):
    """Answers every message in this process.

    Args:
        runtime: Data, network and local half of the scenario.
        threads: PyTorch threads while clients run. As many as a Ray actor has give the same bytes
            as Ray.
    """

    def __init__(self, runtime: Runtime, threads: int = 1) -> None:
        super().__init__(len(runtime.partition))
        self.worker = Worker(runtime)
        self.threads = threads

    def _execute(self, messages: Sequence[Message], timeout: float | None) -> Iterator[Message]:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            for group in by_content(messages):
                for message in group:
                    job = job_of(message)
                    late = f"client {job.client}: {LATE}"
                    if time.monotonic() > deadline:
                        yield error_reply(message, late)
                        continue
                    state = self.states.get(job.client)
                    (answer,) = self.worker.answer(message.content, [job], [state])
                    if time.monotonic() > deadline:
                        yield error_reply(message, late)
                        continue
                    if answer.state is not None:
                        self.states[job.client] = answer.state
                        self.changed.add(job.client)
                    yield answer.reply
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
