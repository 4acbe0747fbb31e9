"""Answers messages with a ClientApp, in this process or in a Ray actor.

An example: clients 3, 7 and 9 received the same training message, client 7 raises in training, and
only the sum of their updates is needed, from slot 4 on::

    worker.answer(content, tasks of 3, 7, 9, states, slots=Slots(4, 1))

    answers   3: reply with metrics, new state   7: error reply, state None   9: as 3
    sums      slots 4-5: w3 u3    slot 6: w9 u9    (u: update, w: weight; 7 adds nothing)

With ``together=True`` the three train as one stack, with one sum for all of their slots. If that
raises, or an update is not finite, the whole stack is repeated client by client, which confines the
error to its client.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

from flwr.app import Context, Message, MessageType, Metadata, RecordDict

from fedlab.client_app import build_client_app
from fedlab.engine.execution.low_rank_rule import Form, may_be_low_rank
from fedlab.engine.execution.mode import ExecutionPlan, from_rule, from_timing, timed_form
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.malloc import keep_freed_memory, return_freed_memory
from fedlab.errors import LostDataError
from fedlab.federation.preaggregation import (
    REQUEST,
    PairwiseSum,
    Preaggregation,
    Slots,
    merged,
)
from fedlab.federation.screening import sum_fault, update_fault
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.flower_compat import (
    assume_identity,
    client_context,
    error_reply,
    message_for,
    refused_reply,
    reply_for,
)

log = logging.getLogger("fedlab")


class ClientTask(NamedTuple):
    """Metadata and client of a message; its content is shared by many clients."""

    metadata: Metadata
    client: int


class ClientReply(NamedTuple):
    """A reply, and the client's state if it changed, else None."""

    reply: Message
    state: RecordDict | None


class WorkResult(NamedTuple):
    """Answers, and the sums of the updates if slots were given, else None."""

    answers: list[ClientReply]
    sums: PairwiseSum | None


class Worker:
    """Runs the ClientApp for one client after another, or for a stack of clients.

    Args:
        runtime: Data, network and client trainer of the scenario.
    """

    def __init__(self, runtime: Runtime) -> None:
        assume_identity()
        return_freed_memory()
        keep_freed_memory()
        self.runtime = runtime
        self.clients = len(runtime.partition)
        self.app = build_client_app(lambda _: runtime)

    def choose(
        self, content: RecordDict, tasks: Sequence[ClientTask], states: Sequence[RecordDict | None]
    ) -> ExecutionPlan:
        """How clients are executed (see `fedlab.engine.execution.mode`).

        Args:
            content: The first cohort's message content.
            tasks: Some of its clients, for a timing; the results are discarded.
            states: Their states.
        """
        scenario, device = self.runtime.scenario, self.runtime.device.type
        cohort, size = scenario.cohort_size, scenario.training.batch_size
        choice = from_rule(scenario.engine, self.runtime.trainer, device, cohort, size)
        some = slice(choice.stack)
        work = (content, tasks[some], states[some])
        if scenario.engine.execution == "measured" and len(tasks[some]) > 1:
            choice = from_timing(
                scenario,
                choice.stack,
                len(tasks[some]),
                device,
                alone=lambda: self.answer(*work),
                together=lambda: self.answer(*work, together=True),
            )
        if scenario.engine.dense_layers != "measured":
            return choice._replace(dense_layers=scenario.engine.dense_layers)
        if not may_be_low_rank(self.runtime.trainer):
            return choice
        return self._with_timed_form(choice, content, tasks, states)

    def _with_timed_form(
        self,
        choice: ExecutionPlan,
        content: RecordDict,
        tasks: Sequence[ClientTask],
        states: Sequence[RecordDict | None],
    ) -> ExecutionPlan:
        """The plan with the form of dense layers that is quickest for its first clients."""
        runtime, some = self.runtime, slice(choice.stack)
        clients = [task.client for task in tasks[some]]
        largest = max(len(runtime.client_data(client).labels) for client in clients)
        number = "1 client" if len(clients) == 1 else f"{len(clients)} clients"
        slots = Slots(0, len(clients)) if REQUEST in content else None

        def train(form: Form) -> None:
            work = (content, tasks[some], states[some])
            self.answer(*work, together=len(clients) > 1, slots=slots, form=form)

        size = f"{number} of up to {largest} samples"
        return timed_form(runtime.scenario, runtime.device.type, choice, size, train)

    def answer(
        self,
        content: RecordDict,
        tasks: Sequence[ClientTask],
        states: Sequence[RecordDict | None],
        together: bool = False,
        slots: Slots | None = None,
        ahead: Sequence[int] = (),
        form: Form | None = None,
    ) -> WorkResult:
        """Answers messages that share their content.

        A client that raises gives an error reply with its traceback and keeps its old state.

        Args:
            content: The message content.
            tasks: The clients.
            states: Their states.
            together: Whether they train, or are tested, as one.
            slots: The slots of their updates in a sum, if only the sum is needed.
            ahead: The clients that will train next, whose samples may be read meanwhile.
            form: The form of dense layers; None leaves it as it is.

        Raises:
            LostDataError: If a file of samples is gone, or another one.
        """
        if form is not None:
            self.runtime.takes(form)
        if tasks and tasks[0].metadata.message_type == MessageType.TRAIN:
            self.runtime.expect([*(task.client for task in tasks), *ahead])

        def one_by_one() -> Iterator[tuple[ClientReply, WeightedSum | None]]:
            for task, state in zip(tasks, states, strict=True):
                yield self._alone(self._visit(content, task, state), bool(slots))

        sums, first = PairwiseSum(), slots.first if slots else 0
        if together:
            answered = self._together(content, tasks, states, bool(slots))
            if answered is None:
                # One client may have caused it: one by one, only that client fails.
                alone = list(one_by_one())
                answered = [answer for answer, _ in alone], reduce(merged, (t for _, t in alone))
            answers, total = answered
            sums.add(first, slots.number if slots else 1, total)
        else:
            answers = []
            for slot, (answer, total) in enumerate(one_by_one(), first):
                answers.append(answer)
                sums.add(slot, 1, total)
        return WorkResult(answers, sums if slots else None)

    def _together(
        self,
        content: RecordDict,
        tasks: Sequence[ClientTask],
        states: Sequence[RecordDict | None],
        preaggregate: bool,
    ) -> tuple[list[ClientReply], WeightedSum | None] | None:
        """Answers of clients as one, and their sum; None if any of them fails or is not finite."""
        trains = tasks[0].metadata.message_type == MessageType.TRAIN
        cohort = self.runtime, content, [task.client for task in tasks], states
        into = Preaggregation.requested(content) if preaggregate else None
        try:
            if trains:
                answers = self.app.train_cohort(*cohort, into)
            else:
                answers = self.app.evaluate_cohort(*cohort)
        except LostDataError:
            raise
        except (Exception, SystemExit):  # a user's own code may call sys.exit
            log.warning("going on one by one after\n%s", traceback.format_exc().rstrip())
            return None
        total = _total(into)
        if sum_fault(total) or any(update_fault(answer.content) for answer in answers):
            return None
        replies = [
            ClientReply(reply_for(task.metadata, answer.content), answer.state)
            for task, answer in zip(tasks, answers, strict=True)
        ]
        return replies, total

    def _alone(self, visit: _Visit, preaggregate: bool) -> tuple[ClientReply, WeightedSum | None]:
        """One client's answer and its summand; an error reply and None if it fails."""
        into = Preaggregation.requested(visit.message.content) if preaggregate else None
        try:
            if into is not None:
                reply = self.app.train_one(visit.message, visit.context, into)
            else:
                reply = self.app(visit.message, visit.context)
        except LostDataError:  # no other client could go on, either
            raise
        except (Exception, SystemExit):  # a user's own code may call sys.exit
            reason = f"client {visit.client} raised:\n{traceback.format_exc().rstrip()}"
            return ClientReply(error_reply(visit.message, reason), None), None
        total = _total(into)
        if wrong := sum_fault(total) or (reply.has_content() and update_fault(reply.content)):
            refusal = refused_reply(visit.message, f"client {visit.client}: {wrong}")
            return ClientReply(refusal, None), None
        return visit.answered(reply), total

    def _visit(self, content: RecordDict, task: ClientTask, state: RecordDict | None) -> _Visit:
        # Shallow copies, so that a client can add and remove records.
        message = message_for(task.metadata, content.copy())
        before = dict(state) if state is not None else {}
        own = state.copy() if state is not None else RecordDict()
        context = client_context(task.metadata.dst_node_id, task.client, self.clients, own)
        return _Visit(task.client, message, context, before)


class _Visit(NamedTuple):
    """A message and its client's context."""

    client: int
    message: Message
    context: Context
    before: dict[str, Any]

    def answered(self, reply: Message) -> ClientReply:
        """The reply, with the client's state if it changed."""
        state = self.context.state
        return ClientReply(reply, state if _replaced(state, self.before) else None)


def _total(into: Preaggregation | None) -> WeightedSum | None:
    """The sum, or None if no client is in it."""
    return into.total if into is not None and into.total.clients else None


def _replaced(state: RecordDict, before: dict[str, Any]) -> bool:
    """Whether any record is another object than before (values are not compared, for speed)."""
    return state.keys() != before.keys() or any(state[key] is not before[key] for key in before)
