"""One test of a round: messages to clients, and what is made of their replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from fedlab.federation.evaluation_reply import read_tests
from fedlab.federation.evaluation_rows import central_rows, client_rows, count_rows, pooled_rows
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.row import CountRow, Row, Split

EvaluateFunction = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class Measured:
    """What a test has come to.

    Attributes:
        sent: The messages to clients.
        answers: Their replies.
        rows: Rows of the history.
        counts: Counts that are kept.
        clients: Means over clients, as Flower's result has them; None where nobody was asked.
        central: What the server has measured; None where it has not.
    """

    sent: Sequence[Message]
    answers: Sequence[Message]
    rows: list[Row]
    counts: list[CountRow]
    clients: MetricRecord | None
    central: MetricRecord | None


def measure(
    strategy: RoundStrategy,
    server_round: int,
    arrays: ArrayRecord,
    config: ConfigRecord,
    split: Split,
    send: Callable[[Sequence[Message]], list[Message]],
    evaluate_fn: EvaluateFunction | None,
    grid: Grid,
) -> Measured:
    """Has clients test their own models, and the server the global one.

    Args:
        strategy: The method.
        server_round: The round.
        arrays: The server's model.
        config: Plain values that go down.
        split: What is tested on. The server has samples for tests alone.
        send: Sends messages and gives one reply to each, by client.
        evaluate_fn: The server's test.
        grid: Knows the clients.
    """
    settings = strategy.settings
    asked = ConfigRecord({**config, "split": split}) if settings.splits != ("test",) else config
    sent = list(strategy.configure_evaluate(server_round, arrays, asked, grid))
    answers = send(sent)
    clients = strategy.aggregate_evaluate(server_round, answers)
    results = read_tests(answers)
    rows = client_rows(server_round, results, settings.metrics, split)
    whole = strategy.has_global_model and settings.fraction_evaluate == 1
    rows += pooled_rows(server_round, results, settings.metrics, whole, split)
    central = evaluate_fn(server_round, arrays) if evaluate_fn and split == "test" else None
    if central is not None:
        rows += central_rows(server_round, central)
    counts = count_rows(server_round, results, central, settings.metrics, split)
    return Measured(sent, answers, rows, counts, clients, central)
