"""One evaluation of a round: messages to clients, and rows from their replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedlab.federation.evaluation_reply import ADAPT_STEPS, Tested, read_tests
from fedlab.federation.evaluation_rows import central_rows, client_rows, count_rows, pooled_rows
from fedlab.federation.messages import messages_to
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.records import to_record
from fedlab.row import GLOBAL, CountRow, Row, Split

EvaluateFunction = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class Measured:
    """The results of an evaluation.

    Attributes:
        sent: The messages to clients.
        answers: Their replies.
        beside: Replies of held-out clients. These are not part of the federation, so that their
            messages do not count as traffic.
        rows: Rows of the history.
        counts: The kept counts.
        clients: Means over clients, for Flower's result; None if no client was tested.
        central: The server's metrics; None if it has not tested.
    """

    sent: Sequence[Message]
    answers: Sequence[Message]
    beside: Sequence[Message]
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
    """Tests the clients' own models on the clients, and the global one on the server.

    Args:
        strategy: The method.
        server_round: The round.
        arrays: The server's model.
        config: Plain values that go down.
        split: The split to test on. The server only has test samples.
        send: Sends messages and returns one reply to each, by client.
        evaluate_fn: The server's test.
        grid: The grid of the clients.
    """
    settings = strategy.settings
    asked = ConfigRecord({**config, "split": split}) if settings.splits != ("test",) else config
    sent = list(strategy.configure_evaluate(server_round, arrays, asked, grid))
    answers = send(sent)
    clients = strategy.aggregate_evaluate(server_round, answers)
    results = read_tests(answers)
    rows = client_rows(server_round, results, settings.metrics, split)
    whole = strategy.has_global_model and settings.fraction_evaluate == 1
    others: list[Tested] = []
    beside: list[Message] = []
    if settings.held_out and split == "test":
        by_state = _ask_held_out(strategy, server_round, config, send, grid)
        others = read_tests(by_state["held_out"])
        for state, replies in by_state.items():
            found = read_tests(replies)
            rows += client_rows(server_round, found, settings.metrics, state)
            rows += pooled_rows(server_round, found, settings.metrics, False, state)
            beside += replies
    central = evaluate_fn(server_round, arrays) if evaluate_fn and split == "test" else None
    of_server = [] if central is None else central_rows(server_round, central)
    # Whole test sets take the place of what clients have of them.
    tested = {(GLOBAL, row.domain) for row in of_server}
    pooled = pooled_rows(server_round, results, settings.metrics, whole, split, others)
    rows += [row for row in pooled if (row.client, row.domain) not in tested] + of_server
    counts = count_rows(server_round, results, central, settings.metrics, split)
    return Measured(sent, answers, beside, rows, counts, clients, central)


def _ask_held_out(
    strategy: RoundStrategy,
    server_round: int,
    config: ConfigRecord,
    send: Callable[[Sequence[Message]], list[Message]],
    grid: Grid,
) -> dict[Split, list[Message]]:
    """Tests the model on held-out clients, as received and after adaptation to each of them.

    Tensors that the method keeps on clients have the network's initial values there.

    Returns:
        Their replies, by the tested state (``held_out``, ``adapted``).
    """
    settings = strategy.settings
    plain = {**config, **strategy.config(server_round)}
    tests: dict[Split, dict[str, int]] = {"held_out": {}}
    if settings.adapt_steps:
        tests["adapted"] = {ADAPT_STEPS: settings.adapt_steps}
    records = {name: to_record(t) for name, t in strategy.sent_to_test(server_round).items()}
    answers: dict[Split, list[Message]] = {}
    for split, how in tests.items():
        content = RecordDict({**records, "config": ConfigRecord({**plain, **how})})  # type: ignore[arg-type]
        nodes = settings.never_train(grid.get_node_ids())
        messages = messages_to(nodes, content, MessageType.EVALUATE, server_round)
        answers[split] = send(messages)
        strategy.accept(server_round, answers[split])  # raises if too many have failed
    return answers
