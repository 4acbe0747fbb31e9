"""Answers messages with a ClientApp; the same in this process and inside a Ray actor."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import NamedTuple, TypeVar

from flwr.app import Context, Message, MessageType, Metadata, RecordDict

from fedlab.client_app import build_client_app
from fedlab.engine.execution.mode import Choice, by_measuring, by_rule
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.malloc import keep_freed_memory
from fedlab.federation.client_updates import empty_sum
from fedlab.federation.screening import sum_fault, update_fault
from fedlab.federation.weighted_sum import PairwiseSums, WeightedSum, merged
from fedlab.flower_compat import (
    assume_identity,
    client_context,
    error_reply,
    message_for,
    refused_reply,
)

log = logging.getLogger("fedlab")

T = TypeVar("T")


class Job(NamedTuple):
    """One message for one client, without its content, which many clients share."""

    metadata: Metadata
    client: int


class Answer(NamedTuple):
    """A reply, and the client's state where the client changed it."""

    reply: Message
    state: RecordDict | None


class Places(NamedTuple):
    """Where clients' updates belong in a sum (see `fedlab.federation.weighted_sum.PairwiseSums`).

    Attributes:
        start: Place of the first client.
        number: Places of all of them together, if they train as one.
    """

    start: int
    number: int


class Answered(NamedTuple):
    """Answers, and the sums of the updates, where these were wanted instead of each update."""

    answers: list[Answer]
    sums: PairwiseSums | None


class Worker:
    """Runs the ClientApp for one client after another, or for many as one.

    Args:
        runtime: Data, network and local half of the scenario.
    """

    def __init__(self, runtime: Runtime) -> None:
        assume_identity()
        keep_freed_memory()
        self.runtime = runtime
        self.clients = len(runtime.partition)
        self.app = build_client_app(lambda _: runtime)

    def choose(
        self, content: RecordDict, jobs: Sequence[Job], states: Sequence[RecordDict | None]
    ) -> Choice:
        """How clients are to be executed (see `fedlab.engine.execution.mode`).

        Args:
            content: What the clients of the first cohort received.
            jobs: Some of them, for measuring; they are trained and forget it.
            states: What they keep.
        """
        scenario, device = self.runtime.scenario, self.runtime.device.type
        choice = by_rule(scenario.engine, self.runtime.half, device, scenario.cohort_size)
        some = slice(choice.stack)
        if scenario.engine.execution != "measured" or len(jobs[some]) < 2:
            return choice
        work = (content, jobs[some], states[some])
        return by_measuring(
            scenario,
            choice.stack,
            len(jobs[some]),
            device,
            alone=lambda: self.answer(*work),
            together=lambda: self.answer(*work, together=True),
        )

    def answer(
        self,
        content: RecordDict,
        jobs: Sequence[Job],
        states: Sequence[RecordDict | None],
        together: bool = False,
        places: Places | None = None,
    ) -> Answered:
        """Answers messages that share their content.

        A client that raises gives an error reply with its traceback and keeps its old state.

        Args:
            content: What the clients received.
            jobs: Who they are.
            states: What they keep.
            together: Whether they train, or are tested, as one.
            places: Where their updates belong in a sum, if no more than that is wanted.
        """
        sums = PairwiseSums()
        where = places or Places(0, 1)

        def visits() -> list[_Visit]:
            return [self._visit(content, job, s) for job, s in zip(jobs, states, strict=True)]

        answers: list[Answer] = []
        if together:
            found = self._stack(places, content, visits())
            if found is None:
                # It may be one client's fault: alone, each of them fails or succeeds for itself.
                one_by_one = [self._screened(places, content, visit) for visit in visits()]
                found = [each for each, _ in one_by_one], reduce(merged, (t for _, t in one_by_one))
            answers, total = found
            sums.add(*where, total)
        else:
            for place, visit in enumerate(visits(), where.start):
                answer, total = self._screened(places, content, visit)
                answers.append(answer)
                sums.add(place, 1, total)
        return Answered(answers, sums if places else None)

    def _stack(
        self, places: Places | None, content: RecordDict, visits: Sequence[_Visit]
    ) -> tuple[list[Answer], WeightedSum | None] | None:
        """Answers of clients as one, and their sum; None if one of them cannot be used."""
        try:
            answers, total = self._adding(places, content, lambda: self._together(visits))
        except (Exception, SystemExit):  # a user's own code may call sys.exit
            log.warning("going on one by one after\n%s", traceback.format_exc().rstrip())
            return None
        wrong = sum_fault(total) or any(update_fault(answer.reply) for answer in answers)
        return None if wrong else (answers, total)

    def _screened(
        self, places: Places | None, content: RecordDict, visit: _Visit
    ) -> tuple[Answer, WeightedSum | None]:
        """One client's answer, and its summand; neither if its update cannot be used."""
        answer, total = self._adding(places, content, partial(self._alone, visit))
        wrong = sum_fault(total) or update_fault(answer.reply)
        if wrong:
            refusal = refused_reply(visit.message, f"client {visit.client}: {wrong}")
            return Answer(refusal, None), None
        return answer, total

    def _adding(
        self, places: Places | None, content: RecordDict, answer: Callable[[], T]
    ) -> tuple[T, WeightedSum | None]:
        """Answers while updates are added up, if that is wanted, instead of put into replies."""
        self.app.total = total = empty_sum(content) if places else None
        try:
            return answer(), total if total is not None and total.clients else None
        finally:
            self.app.total = None

    def _visit(self, content: RecordDict, job: Job, state: RecordDict | None) -> _Visit:
        # Shallow copies, so that a client can add records and drop them.
        message = message_for(job.metadata, content.copy())
        before = dict(state) if state is not None else {}
        own = state.copy() if state is not None else RecordDict()
        context = client_context(job.metadata.dst_node_id, job.client, self.clients, own)
        return _Visit(job.client, message, context, before)

    def _together(self, visits: Sequence[_Visit]) -> list[Answer]:
        kind = visits[0].message.metadata.message_type
        answer = self.app.evaluate_cohort if kind == MessageType.EVALUATE else self.app.train_cohort
        replies = answer([visit.message for visit in visits], [visit.context for visit in visits])
        return [visit.answered(reply) for visit, reply in zip(visits, replies, strict=True)]

    def _alone(self, visit: _Visit) -> Answer:
        try:
            return visit.answered(self.app(visit.message, visit.context))
        except (Exception, SystemExit):  # a user's own code may call sys.exit
            reason = f"client {visit.client} raised:\n{traceback.format_exc().rstrip()}"
            return Answer(error_reply(visit.message, reason), None)


class _Visit(NamedTuple):
    """A message as its client sees it."""

    client: int
    message: Message
    context: Context
    before: dict

    def answered(self, reply: Message) -> Answer:
        """The reply, with the client's state if it changed."""
        state = self.context.state
        return Answer(reply, state if _replaced(state, self.before) else None)


def _replaced(state: RecordDict, before: dict) -> bool:
    """Whether any record is another object than before (comparing values would cost a pass)."""
    return state.keys() != before.keys() or any(state[key] is not before[key] for key in before)
