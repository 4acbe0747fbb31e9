"""A grid that runs clients on long-lived Ray actors.

Flower's own simulator polls, sends model, app and state with every message, and keeps dead actors
in its pool. Here a round is driven by events; content that many clients share enters the object
store once; clients' states stay in the object store, owned by the driver, so that nothing is lost
when an actor dies: its work is sent again to a new one, with the same inputs.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.exceptions
from flwr.app import Message, RecordDict
from ray import cloudpickle

from fedlab.engine.execution.mode import MOST, ExecutionPlan
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.grid import LATE, ClientGrid
from fedlab.engine.ray.actor import Returned
from fedlab.engine.ray.actor_pool import ActorPool
from fedlab.engine.ray.dispatch import Dispatch
from fedlab.engine.work_units import WorkUnit, client_task_of
from fedlab.errors import LostDataError, RunError
from fedlab.flower_compat import error_reply

log = logging.getLogger("fedlab")

RESTART_SECONDS = 300.0
"""Timeout for a new actor if no other is left, as after the loss of a machine, in seconds."""

INLINED = 100 * 1024
"""Bytes below which Ray stores an actor's return value in the driver's memory."""

LOST_PROCESS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)


class RayGrid(ClientGrid):
    """Answers messages on Ray actors.

    Args:
        make_runtime: Creates an actor's runtime; called in the actor.
        shared: References to its arguments, which all actors of a machine share in memory.
        sizes: Number of training samples of each client; the largest clients go first.
        tested: Largest number of clients that are tested as one.
        actors: Number of actors.
        pool: The pool of the actors.
        on_close: Called when the grid is closed, after its actors are gone.
    """

    def __init__(
        self,
        make_runtime: Callable[..., Runtime],
        shared: Sequence[ray.ObjectRef[Any]],
        sizes: Sequence[int],
        tested: int = 1,
        *,
        actors: int,
        pool: ActorPool,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sizes, tested)
        made_by = cloudpickle.dumps(make_runtime)  # type: ignore[attr-defined]  # by value, where a notebook defines it
        self._prepare = lambda actor: actor.prepare.remote(sys.path, made_by, *shared)
        self._pool = pool
        self._idle = deque(pool.take() for _ in range(actors))
        self._actors = actors
        self._busy: dict[ray.ObjectRef[Any], tuple[Dispatch, Any]] = {}
        self._abandoned: dict[ray.ObjectRef[Any], Any] = {}
        self._starting: dict[ray.ObjectRef[Any], Any] = {}
        self._keeping: dict[str, bool] = {}  # by type of message: whether clients have states
        self._on_close = on_close

    def wait_until_ready(self) -> None:
        """Waits for the actors; closes the grid if that fails.

        Raises:
            RunError: If an actor cannot start, with the reason.
        """
        try:
            ray.get([self._prepare(actor) for actor in self._idle])
        except BaseException as error:
            self.close()
            if isinstance(error, ray.exceptions.RayError):
                raise _failure("could not start", error) from error
            raise

    @property
    def actor_pids(self) -> list[int]:
        """Process ids of the idle actors (between rounds: all of them)."""
        return ray.get([_pid(actor) for actor in self._idle])

    def _choose(self, messages: Sequence[Message]) -> ExecutionPlan:
        some = [client_task_of(message) for message in messages[:MOST]]
        states = [self.states.get(task.client) for task in some]
        actor = self._idle[0]
        try:
            return ray.get(actor.choose.remote(messages[0].content, some, *states))
        except ray.exceptions.RayError as error:
            raise _failure("failed", error) from error

    def _execute(self, units: Sequence[WorkUnit], timeout: float | None) -> Iterator[Message]:
        deadline = None if timeout is None else time.monotonic() + timeout
        contents = {id(p.messages[0].content): p.messages[0].content for p in units}
        references = {key: ray.put(content) for key, content in contents.items()}
        queue = deque(Dispatch(p, references[id(p.messages[0].content)]) for p in units)
        while queue or self._busy:
            while queue and self._idle:
                work, actor = queue.popleft(), self._idle.popleft()
                # The other actors take a work unit each before this one takes its next.
                place = self._actors - 1
                ahead = queue[place].unit.clients if place < len(queue) else []
                self._busy[self._send(work, actor, ahead)] = (work, actor)
            first = self._next(deadline)
            if first is None:
                yield from self._give_up(queue)
                return
            if first not in self._busy:
                self._come_back(first)
                continue
            work, actor = self._busy.pop(first)
            try:
                returned = ray.get(first)
            except LOST_PROCESS as error:
                self._replace(actor)
                again = work.again()
                queue.extendleft(reversed(again))
                if not again:
                    reason = f"its actor died {work.died} times: {_why(error)}"
                    yield from _lost(work, reason)
                continue
            except ray.exceptions.RayError as error:
                raise _failure("failed", error) from error
            self._idle.append(actor)
            yield from self._collect(work, returned)

    def _next(self, deadline: float | None) -> ray.ObjectRef[Any] | None:
        """Waits for the next event (a result or a started actor); None at the deadline.

        Raises:
            RunError: If no actor is left and none can be started.
        """
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        working = [*self._busy, *self._abandoned]
        if working:
            done, _ = ray.wait([*working, *self._starting], num_returns=1, timeout=left)
            return done[0] if done else None
        patience = RESTART_SECONDS if left is None else min(left, RESTART_SECONDS)
        done, _ = ray.wait([*self._starting], num_returns=1, timeout=patience)
        if not done and patience == RESTART_SECONDS:
            raise RunError(
                f"all Ray actors died and none could be started again in {RESTART_SECONDS:g} s; "
                "see whether the cluster still has the machines, then resume the run"
            )
        return done[0] if done else None

    def _travelling(self, messages: int) -> int:
        """About four work units per actor, so that all actors finish at about the same time."""
        return min(MOST, messages // (4 * self._actors))

    def _send(self, work: Dispatch, actor: Any, ahead: Sequence[int]) -> ray.ObjectRef[Any]:
        unit, tasks = work.unit, work.unit.tasks
        states = [self.states.get(task.client) for task in tasks]
        # One object per client is slower and not needed for methods without client states.
        work.as_objects = self._keeping.get(unit.kind, True)
        outputs = actor.answer.options(num_returns=1 + len(tasks) * work.as_objects).remote(
            work.content.hex(),
            work.content,
            (tasks, unit.together, unit.where, self.form),
            work.as_objects,
            *(states if any(state is not None for state in states) else []),
            ahead=ahead,
        )
        work.outputs = list(outputs) if work.as_objects else [outputs]
        return work.outputs[0]

    def _collect(self, work: Dispatch, returned: Returned) -> Iterator[Message]:
        """Yields replies and stores the references to the clients' new states."""
        for text in returned.warnings:
            log.warning("%s", text)
        unit = work.unit
        unit.take(returned.sums)
        self._keeping[unit.kind] = any(size is not None for size in returned.sizes)
        for index, (task, reply) in enumerate(zip(unit.tasks, returned.replies, strict=True)):
            size = returned.sizes[index]
            if size is not None and work.as_objects:
                inlined = size < INLINED
                self._keep(task.client, work.outputs[1 + index], size * inlined)
            elif size is not None:
                self._keep(task.client, *self._hold(returned.states[index]))
            yield reply

    def _give_up(self, queue: deque[Dispatch]) -> Iterator[Message]:
        """After the deadline: drops late work; its actors are used again once they finish."""
        late = [work for work, _ in self._busy.values()]
        self._abandoned.update({output: actor for output, (_, actor) in self._busy.items()})
        self._busy.clear()
        for work in [*queue, *late]:
            yield from _lost(work, LATE)

    def _come_back(self, output: ray.ObjectRef[Any]) -> None:
        """Handles an actor that has started, or a late one that has finished or died.

        Raises:
            RunError: If a new actor cannot start.
        """
        if output in self._starting:
            actor = self._starting.pop(output)
            try:
                ray.get(output)
            except ray.exceptions.RayError as error:
                raise _failure("could not start again", error) from error
            self._idle.append(actor)
            return
        actor = self._abandoned.pop(output)
        try:
            ray.get(output)
            self._idle.append(actor)
        except ray.exceptions.RayError:
            self._replace(actor)

    def _replace(self, dead: Any) -> None:
        """Replaces an actor that died; the new one is used once it has started."""
        ray.kill(dead)  # Ray may be wrong about its death, and it must not keep its CPU
        actor = self._pool.take()
        self._starting[self._prepare(actor)] = actor

    def _hold(self, record: RecordDict) -> tuple[ray.ObjectRef[Any], int]:
        return ray.put(record), 0

    def _fetch(self, state: ray.ObjectRef[Any]) -> RecordDict:
        try:
            return ray.get(state)
        except ray.exceptions.RayError as error:
            raise RunError(f"what clients keep is lost: {_why(error)}; resume the run") from error

    def close(self) -> None:
        """Gives idle actors back to the pool, and ends the others."""
        for actor in self._idle:
            self._pool.give_back(actor)
        busy = [actor for _, actor in self._busy.values()]
        for actor in [*busy, *self._abandoned.values(), *self._starting.values()]:
            ray.kill(actor)
        for actors in (self._idle, self._busy, self._abandoned, self._starting):
            actors.clear()
        super().close()
        self._on_close()


def _lost(work: Dispatch, reason: str) -> Iterator[Message]:
    work.unit.lose()
    for message in work.unit.messages:
        client = client_task_of(message).client
        yield error_reply(message, f"client {client}: {reason}", crashed=True)


def _failure(what: str, error: ray.exceptions.RayError) -> RunError:
    """The error of an actor that cannot go on; lost samples keep the error that they raise."""
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else None
    return (
        cause
        if isinstance(cause, LostDataError)
        else RunError(f"a Ray actor {what}: {_why(error)}")
    )


def _why(error: ray.exceptions.RayError) -> str:
    """Ray's message without ANSI colour codes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()


def _pid(actor: Any) -> ray.ObjectRef[Any]:
    return actor.__ray_call__.remote(lambda _: __import__("os").getpid())
