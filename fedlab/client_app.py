"""A client trainer as a Flower ClientApp: the same app on a Ray actor and on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedlab.clients.base import ClientState, Received, Update
from fedlab.engine.execution.evaluation import DomainScore
from fedlab.engine.execution.runtime import Runtime
from fedlab.federation.evaluation_reply import COUNTS, counts_record
from fedlab.federation.preaggregation import Preaggregation
from fedlab.metrics.metric_set import LOSS
from fedlab.records import Tensors, array_records, arrays_of, to_record


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
        received = self.inbox.open(message, runtime)
        state = own_state_of(context, runtime)
        client = client_index(context)
        update, metrics = runtime.train(client, received, state, into)
        update = runtime.outgoing(client, received, state, update)
        return _update_reply(message, context, update, metrics)

    def train_cohort(
        self,
        messages: Sequence[Message],
        contexts: Sequence[Context],
        into: Preaggregation | None = None,
    ) -> list[Message]:
        """One reply to each of several messages to train, which share their records.

        Args:
            messages: The messages.
            contexts: Those of their clients.
            into: Takes in the updates, which are then missing in the replies.
        """
        runtime = self.runtime_for(contexts[0])
        received = self.inbox.open(messages[0], runtime)
        clients = [client_index(context) for context in contexts]
        states = [own_state_of(context, runtime) for context in contexts]
        results = runtime.train_many(clients, received, states, into)
        updates = [
            runtime.outgoing(client, received, state, update)
            for client, state, (update, _) in zip(clients, states, results, strict=True)
        ]
        return [
            _update_reply(message, context, update, metrics)
            for message, context, update, (_, metrics) in zip(
                messages, contexts, updates, results, strict=True
            )
        ]

    def evaluate_cohort(
        self, messages: Sequence[Message], contexts: Sequence[Context]
    ) -> list[Message]:
        """One reply to each of several messages to test, which share their records."""
        runtime = self.runtime_for(contexts[0])
        clients = [client_index(context) for context in contexts]
        scores = runtime.evaluate_many(
            clients,
            self.inbox.open(messages[0], runtime),
            [own_state_of(context, runtime) for context in contexts],
        )
        return [
            _scores_reply(message, scored, runtime, client)
            for message, scored, client in zip(messages, scores, clients, strict=True)
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
        received = inbox.open(message, runtime)
        update = runtime.answer(client, str(received.config["question"]), received)
        return _update_reply(message, context, update, {"num-examples": 0})

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        runtime, client = runtime_for(context), client_index(context)
        received = inbox.open(message, runtime)
        scores = runtime.evaluate(client, received, own_state_of(context, runtime))
        return _scores_reply(message, scores, runtime, client)

    @app.evaluate("domain")
    def evaluate_domain(message: Message, context: Context) -> Message:
        runtime, client = runtime_for(context), client_index(context)
        received = inbox.open(message, runtime)
        scores = runtime.evaluate_domain(str(received.config["domain"]), received)
        return _scores_reply(message, scores, runtime, client)

    return app


class Inbox:
    """Decodes received records, once for all clients that got the same ones."""

    def __init__(self) -> None:
        self._records: Sequence[ArrayRecord] = ()
        self._arrays: dict[str, Tensors] = {}

    def open(self, message: Message, runtime: Runtime) -> Received:
        """The message's tensors, on the runtime's device, and its plain values."""
        content = message.content
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


def _update_reply(
    message: Message, context: Context, update: Update, metrics: Mapping[str, float]
) -> Message:
    """The reply with the update; stores the client's state in the context."""
    for name, tensors in update.client_state.items():
        context.state[name] = to_record(tensors)
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        name: to_record(tensors) for name, tensors in update.arrays.items()
    }
    records["metrics"] = MetricRecord(dict(metrics))
    records["client"] = ConfigRecord({"id": client_index(context)})
    return Message(RecordDict(records), reply_to=message)  # type: ignore[arg-type]


def _scores_reply(
    message: Message, scores: Sequence[DomainScore], runtime: Runtime, client: int
) -> Message:
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
    return Message(content, reply_to=message)
