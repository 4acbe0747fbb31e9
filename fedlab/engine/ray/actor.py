"""A worker in a process of its own, and what it returns."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from flwr.app import Message, RecordDict

from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.worker import ClientTask, Worker
from fedlab.federation.preaggregation import PairwiseSum, Slots
from fedlab.records import payload_bytes

log = logging.getLogger("fedlab")


class Returned(NamedTuple):
    """What an actor returns of a work unit, besides what clients keep in objects of their own.

    Attributes:
        replies: One for each client.
        sizes: Bytes of what each client keeps from now on; None where nothing has changed.
        states: What they keep, if it was not to be put into objects.
        sums: Sums of their updates, where these were wanted.
        warnings: What the actor has to say.
    """

    replies: list[Message]
    sizes: list[int | None]
    states: list[RecordDict]
    sums: PairwiseSum | None
    warnings: list[str]


class Actor:
    """A `Worker` in a process of its own (see `fedlab.engine.ray.ray_grid.RayGrid`)."""

    def __init__(self) -> None:
        self.warnings = Warnings()
        self.rest()

    def rest(self) -> None:
        """Forgets the run it has worked for."""
        self._worker: Worker | None = None
        self._content = "", RecordDict()
        self.warnings.take()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # others may want that memory meanwhile

    def prepare(self, import_path: Sequence[str], make_runtime: bytes, *shared: Any) -> None:
        """Makes what a run needs.

        Args:
            import_path: Where the driver finds modules: a user's own are found there here, too.
            make_runtime: Makes the runtime, pickled.
            *shared: Its arguments.
        """
        if sys.path[0] in import_path[1:]:  # Ray puts the current folder first
            sys.path.append(sys.path.pop(0))
        sys.path.extend(path for path in import_path if path not in sys.path)
        self._worker = Worker(pickle.loads(make_runtime)(*shared))

    @property
    def worker(self) -> Worker:
        """Who answers, once `prepare` has been called."""
        assert self._worker is not None
        return self._worker

    def choose(
        self, content: RecordDict, tasks: Sequence[ClientTask], *states: RecordDict | None
    ) -> ExecutionPlan:
        """How clients are to be executed."""
        return self.worker.choose(content, tasks, states)

    def answer(
        self,
        key: str,
        content: RecordDict,
        unit: tuple[Sequence[ClientTask], bool, Slots | None],
        as_objects: bool,
        *states: RecordDict | None,
    ) -> Any:
        """Answers messages that share their content.

        Args:
            key: Tells contents from each other: the same one is then the same object, and decoded
                once.
            content: What the clients received.
            unit: Who they are, whether they train as one, and where their updates belong.
            as_objects: Whether to return what each of them keeps as an object of its own (or
                None), after all else.
            *states: What they keep; nothing at all if none of them keeps anything.
        """
        if key != self._content[0]:
            self._content = key, content
        tasks, together, slots = unit
        answers, sums = self.worker.answer(
            self._content[1], tasks, states or [None] * len(tasks), together, slots
        )
        kept = [answer.state for answer in answers]
        returned = Returned(
            [answer.reply for answer in answers],
            [None if state is None else payload_bytes(state) for state in kept],
            [] if as_objects else [state or RecordDict() for state in kept],
            sums,
            self.warnings.take(),
        )
        return (returned, *kept) if as_objects else returned


class Warnings(logging.Handler):
    """Keeps what an actor's log has to say until it is taken to where somebody reads it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []
        log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a warning."""
        self._texts.append(record.getMessage())

    def take(self) -> list[str]:
        """What has come since the last time."""
        texts, self._texts = self._texts, []
        return texts
