"""Answers messages with a ClientApp; the same in this process and inside a Ray actor."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import NamedTuple

from flwr.app import Message, Metadata, RecordDict
from flwr.clientapp import ClientApp

from fedlab.client_app import build_client_app
from fedlab.engine.runtime import Runtime
from fedlab.flower_compat import assume_identity, client_context, error_reply, message_for


class Job(NamedTuple):
    """One message for one client, without its content, which many clients share."""

    metadata: Metadata
    client: int


class Answer(NamedTuple):
    """A reply, and the client's state where the client changed it."""

    reply: Message
    state: RecordDict | None


class Worker:
    """Runs the ClientApp for one client after another.

    Args:
        runtime: Data, network and local half of the scenario.
    """

    def __init__(self, runtime: Runtime) -> None:
        assume_identity()
        self.clients = len(runtime.partition)
        self.app: ClientApp = build_client_app(lambda _: runtime)

    def answer(
        self, content: RecordDict, jobs: Sequence[Job], states: Sequence[RecordDict | None]
    ) -> list[Answer]:
        """Answers messages that share their content.

        A client that raises gives an error reply with its traceback and keeps its old state.
        """
        return [self._one(content, job, s) for job, s in zip(jobs, states, strict=True)]

    def _one(self, content: RecordDict, job: Job, state: RecordDict | None) -> Answer:
        message = message_for(job.metadata, RecordDict(dict(content)))
        before = dict(state) if state is not None else {}
        context = client_context(
            job.metadata.dst_node_id, job.client, self.clients, RecordDict(dict(before))
        )
        try:
            reply = self.app(message, context)
        except Exception:
            reason = f"client {job.client} raised:\n{traceback.format_exc().rstrip()}"
            return Answer(error_reply(message, reason), None)
        return Answer(reply, context.state if _replaced(context.state, before) else None)


def _replaced(state: RecordDict, before: dict) -> bool:
    """Whether any record is another object than before (comparing values would cost a pass)."""
    return state.keys() != before.keys() or any(state[key] is not before[key] for key in before)
