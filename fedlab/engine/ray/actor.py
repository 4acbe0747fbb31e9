"""A worker in a Ray actor, and its return value."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from flwr.app import Message, RecordDict

from fedlab import accelerator
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.worker import ClientTask, Worker
from fedlab.federation.preaggregation import PairwiseSum, Slots
from fedlab.records import payload_bytes

log = logging.getLogger("fedlab")


class Returned(NamedTuple):
    """An actor's return value for a work unit, without states that are returned as objects.

    Attributes:
        replies: One for each client.
        sizes: Bytes of each client's new state; None where it has not changed.
        states: The clients' states, unless they are returned as separate objects.
        sums: Sums of their updates, if requested.
        warnings: Warnings in the actor's log.
    """

    replies: list[Message]
    sizes: list[int | None]
    states: list[RecordDict]
    sums: PairwiseSum | None
    warnings: list[str]


class Actor:
    """A `Worker` in a Ray actor (see `fedlab.engine.ray.ray_grid.RayGrid`)."""

    def __init__(self) -> None:
        self.warnings = Warnings()
        self.rest()

    def rest(self) -> None:
        """Releases everything of the last run."""
        self._worker: Worker | None = None
        self._content = "", RecordDict()
        self.warnings.take()
        gc.collect()
        accelerator.empty_cache()  # for other processes

    def prepare(self, import_path: Sequence[str], make_runtime: bytes, *shared: Any) -> None:
        """Creates the worker of a run.

        Args:
            import_path: The driver's ``sys.path``, for a user's own modules.
            make_runtime: A pickled function that creates the runtime.
            *shared: Its arguments.
        """
        if sys.path[0] in import_path[1:]:  # Ray puts the current folder first
            sys.path.append(sys.path.pop(0))
        sys.path.extend(path for path in import_path if path not in sys.path)
        self._worker = Worker(pickle.loads(make_runtime)(*shared))

    @property
    def worker(self) -> Worker:
        """The worker; only after `prepare`."""
        assert self._worker is not None
        return self._worker

    def choose(
        self, content: RecordDict, tasks: Sequence[ClientTask], *states: RecordDict | None
    ) -> ExecutionPlan:
        """See `Worker.choose`."""
        return self.worker.choose(content, tasks, states)

    def answer(
        self,
        key: str,
        content: RecordDict,
        unit: tuple[Sequence[ClientTask], bool, Slots | None, Form | None],
        as_objects: bool,
        *states: RecordDict | None,
        ahead: Sequence[int] = (),
    ) -> Any:
        """Answers messages that share their content.

        Args:
            key: Identifies the content: work units with the same key use one decoded object.
            content: The message content.
            unit: The clients, whether they train as one, the slots of their updates, and the form
                of dense layers.
            as_objects: Whether to return each client's state (or None) as a separate object, after
                the `Returned`.
            *states: The clients' states; omitted if none of them has one.
            ahead: The clients that this actor will probably train next.
        """
        if key != self._content[0]:
            self._content = key, content
        tasks, together, slots, form = unit
        answers, sums = self.worker.answer(
            self._content[1], tasks, states or [None] * len(tasks), together, slots, ahead, form
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
    """Collects warnings in an actor's log, for the driver's log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []
        log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Stores a warning."""
        self._texts.append(record.getMessage())

    def take(self) -> list[str]:
        """The warnings since the last call."""
        texts, self._texts = self._texts, []
        return texts
