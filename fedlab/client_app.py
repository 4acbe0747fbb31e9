"""A client trainer as a Flower ClientApp: the same app on a Ray actor and on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedlab.clients.base import ClientState, Received, Update
from fedlab.engine.execution.evaluation import DomainScore
from fedlab.engine.execution.runtime import Runtime
from fedlab.federation.evaluation_reply import COUNTS, counts_record
from fedlab.federation.preaggregation import Preaggregation
from fedlab.flower_compat import with_values
from fedlab.metrics.metric_set import LOSS
from fedlab.records import Tensors, array_records, arrays_of, to_record


class Answer(NamedTuple):
    """The content of a client's reply, and the client's state if it changed, else None."""

    content: RecordDict
    state: RecordDict | None


class CohortApp(ClientApp):
    """A ClientApp that can also train several clients in one call, for simulations.

    Args:
        runtime_for: Gives the runtime for a message's context: the actor's own in a simulation,
            one over the device's data in a deployment. ``context.state`` holds what the client
            keeps between rounds; the caller that made the context decides where that is stored.
    """

    def __init__(self, runtime_for: Callable[[Context], Runtime]) -> None:
        super().__init__()
        self.runtime_for = runtime_for
        self.inbox = Inbox()

    def train_one(
        self, message: Message, context: Context, into: Preaggregation | None = None
    ) -> Message:
        """The reply to a message to train.

        Args:
            message: The message.
            context: Its client's.
            into: Takes in the update, which is then missing in the reply.
        """
        runtime = self.runtime_for(context)
        received = self.inbox.open(message.content, runtime)
        state = own_state_of(context, runtime)
        client = client_index(context)
        update, metrics = runtime.train(client, received, state, into)
        update = runtime.outgoing(client, received, state, update)
        return _update_reply(message, context, update, metrics)

    def train_cohort(
        self,
        runtime: Runtime,
        content: RecordDict,
        clients: Sequence[int],
        kept: Sequence[RecordDict | None],
        into: Preaggregation | None = None,
    ) -> list[Answer]:
        """Trains several clients as one, without a message and a context for each.

        Args:
            runtime: Trains them.
            content: What they all got.
            clients: Their indices.
            kept: What each has kept; None for nothing.
            into: Takes in the updates, which are then missing in the answers.
        """
        received = self.inbox.open(content, runtime)
        states = [_decoded(records, runtime) for records in kept]
        results = runtime.train_many(clients, received, states, into)
        answers: list[Answer] = []
        for client, state, before, (update, metrics) in zip(
            clients, states, kept, results, strict=True
        ):
            update = runtime.outgoing(client, received, state, update)
            after = {name: to_record(tensors) for name, tensors in update.client_state.items()}
            new = with_values(RecordDict(), {**(before or {}), **after}) if after else None
            answers.append(Answer(_update_content(client, update, metrics), new))
        return answers

    def evaluate_cohort(
        self,
        runtime: Runtime,
        content: RecordDict,
        clients: Sequence[int],
        kept: Sequence[RecordDict | None],
    ) -> list[Answer]:
        """Tests several clients as one; see `train_cohort`."""
        received = self.inbox.open(content, runtime)
        states = [_decoded(records, runtime) for records in kept]
        scores = runtime.evaluate_many(clients, received, states)
        return [
            Answer(_scores_content(client, scored, runtime), None)
            for client, scored in zip(clients, scores, strict=True)
        ]


def build_client_app(runtime_for: Callable[[Context], Runtime]) -> CohortApp:
    """The ClientApp that trains, tests and answers with a `Runtime` (see `CohortApp`)."""
    app = CohortApp(runtime_for)
    inbox = app.inbox

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return app.train_one(message, context)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        runtime, client = runtime_for(context), client_index(context)
        received = inbox.open(message.content, runtime)
        update = runtime.answer(client, str(received.config["question"]), received)
        return _update_reply(message, context, update, {"num-examples": 0})

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        runtime, client = runtime_for(context), client_index(context)
        received = inbox.open(message.content, runtime)
        scores = runtime.evaluate(client, received, own_state_of(context, runtime))
        return Message(_scores_content(client, scores, runtime), reply_to=message)

    @app.evaluate("domain")
    def evaluate_domain(message: Message, context: Context) -> Message:
        runtime, client = runtime_for(context), client_index(context)
        received = inbox.open(message.content, runtime)
        scores = runtime.evaluate_domain(str(received.config["domain"]), received)
        return Message(_scores_content(client, scores, runtime), reply_to=message)

    return app


class Inbox:
    """Decodes received records, once for all clients that got the same ones."""

    def __init__(self) -> None:
        self._records: Sequence[ArrayRecord] = ()
        self._arrays: dict[str, Tensors] = {}

    def open(self, content: RecordDict, runtime: Runtime) -> Received:
        """A message's tensors, on the runtime's device, and its plain values."""
        records = list(array_records(content).values())
        known = len(records) == len(self._records) and all(
            new is old for new, old in zip(records, self._records, strict=True)
        )
        if not known:
            self._records = records
            self._arrays = arrays_of(content, runtime.device)
        return Received(self._arrays, dict(content.get("config", {})))  # type: ignore[arg-type]


def client_index(context: Context) -> int:
    """The index of the client that this context belongs to."""
    return int(context.node_config["partition-id"])


def own_state_of(context: Context, runtime: Runtime) -> ClientState:
    """The client's state from its earlier rounds."""
    return arrays_of(context.state, runtime.device)


def _decoded(records: RecordDict | None, runtime: Runtime) -> ClientState:
    """A client's state from its records."""
    return arrays_of(records, runtime.device) if records is not None else {}


def _update_reply(
    message: Message, context: Context, update: Update, metrics: Mapping[str, float]
) -> Message:
    """The reply with the update; stores the client's state in the context."""
    for name, tensors in update.client_state.items():
        context.state[name] = to_record(tensors)
    return Message(_update_content(client_index(context), update, metrics), reply_to=message)


def _update_content(client: int, update: Update, metrics: Mapping[str, float]) -> RecordDict:
    """The records of a reply with the update."""
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        name: to_record(tensors) for name, tensors in update.arrays.items()
    }
    records["metrics"] = with_values(MetricRecord(), metrics)
    records["client"] = with_values(ConfigRecord(), {"id": client})
    return with_values(RecordDict(), records)


def _scores_content(client: int, scores: Sequence[DomainScore], runtime: Runtime) -> RecordDict:
    """The records of a reply to a test."""
    examples, score_name = sum(score.examples for score in scores), runtime.data.target.score

    def mean(values: Sequence[float]) -> float:
        weighted = sum(v * s.examples for v, s in zip(values, scores, strict=True))
        return weighted / examples if examples else 0.0

    metrics = {
        "num-examples": examples,
        score_name: mean([score.score for score in scores]),
        LOSS: mean([score.loss for score in scores]),
    }
    names = runtime.data.domain_names
    domains = {
        "domain": [names[score.domain] for score in scores],
        "examples": [score.examples for score in scores],
        score_name: [score.score for score in scores],
        LOSS: [score.loss for score in scores],
    }
    content = RecordDict(
        {
            "metrics": MetricRecord(metrics),
            "domains": ConfigRecord(domains),  # type: ignore[arg-type]
            "client": ConfigRecord({"id": client}),
        }
    )
    if scores and scores[0].counts:
        content[COUNTS] = counts_record([score.counts for score in scores])
    return content
