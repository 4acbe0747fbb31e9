"""The round loop: train, aggregate, evaluate, notify the observers.

Flower's own loop starts at round 1, cannot stop early, discards per-client numbers and has no
hooks. This one runs every strategy, fedlab's and Flower's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from fedlab import rng
from fedlab.federation.callbacks import Callback, RoundReport
from fedlab.federation.client_updates import ClientUpdate, client_of, reason
from fedlab.federation.history_rows import Traffic, round_rows, training_rows
from fedlab.federation.measuring import EvaluateFunction, Measured, measure
from fedlab.federation.messages import messages_to
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.federation.screening import screen
from fedlab.flower_compat import error_reply
from fedlab.records import Tensors, to_record
from fedlab.row import CountRow, Split
from fedlab.virtual_time.clock import CLOCK


class Selection(Protocol):
    """Chooses the round whose model is the run's."""

    def choose(self, strategy: RoundStrategy) -> int | None:
        """Puts the strategy, and the clients, back to that round; None leaves all as it is."""
        ...


def run_rounds(
    strategy: RoundStrategy,
    grid: Grid,
    *,
    rounds: range,
    timeout: float | None,
    train_config: ConfigRecord,
    evaluate_config: ConfigRecord,
    evaluate_fn: EvaluateFunction | None,
    callbacks: Sequence[Callback],
    selection: Selection | None = None,
) -> Result:
    """Runs the rounds and returns Flower's summary of them; observers get the details.

    Where a `selection` puts a strategy back to the round that it has chosen, that model is tested
    once at the end, and no client was tested before.
    """
    result = Result()

    def measured(server_round: int, arrays: ArrayRecord, split: Split) -> Measured:
        def send(messages: Sequence[Message]) -> list[Message]:
            return exchange(grid, messages, timeout)

        return measure(
            strategy, server_round, arrays, evaluate_config, split, send, evaluate_fn, grid
        )

    result.arrays = arrays = to_record(strategy.state["arrays"])
    last = rounds.stop - 1
    for callback in callbacks:
        callback.on_start(strategy, rounds.start, last)
    clock, traffic = _Clock(), Traffic()
    if rounds.start == 1:
        nodes = strategy.settings.may_train(grid.get_node_ids())
        strategy.before_rounds(partial(_ask, strategy, grid, timeout, traffic, nodes, 0))
        clock.lap("ask")
    for server_round in rounds:
        if server_round > rounds.start:
            clock, traffic = _Clock(), Traffic()
        if strategy.asks_each_round:
            few = strategy.asked(server_round, grid)
            ask = partial(_ask, strategy, grid, timeout, traffic, few, server_round)
            strategy.before_training(server_round, ask)
            clock.lap("ask")
        with rng.seeded(strategy.settings.seed, "server", server_round):
            messages = list(strategy.configure_train(server_round, arrays, train_config, grid))
        plan = strategy.plan(server_round, messages, grid)
        sent = messages if plan is None else plan.accepted
        replies = exchange(grid, sent, timeout)
        traffic.add(sent, replies, plan)
        replies = screen(sent, replies, strategy.settings.update_norm)
        clock.lap("train")

        if replies:  # on a virtual clock, a round may end without any
            with rng.seeded(strategy.settings.seed, "aggregate", server_round):
                aggregated, metrics = strategy.aggregate_train(server_round, replies)
            if aggregated is not None:
                result.arrays = arrays = aggregated
            if metrics is not None:
                result.train_metrics_clientapp[server_round] = metrics
        rows = training_rows(server_round, replies)
        answers: list[Message] = []
        counts: list[CountRow] = []
        clock.lap("aggregate")

        if server_round % strategy.settings.evaluate_every == 0 or server_round == last:
            for split in strategy.settings.splits:
                found = measured(server_round, arrays, split)
                traffic.add(found.sent, found.answers)
                rows += found.rows
                counts += found.counts
                answers += [*found.answers, *found.beside]
                if found.clients is not None:
                    result.evaluate_metrics_clientapp[server_round] = found.clients
                if found.central is not None:
                    result.evaluate_metrics_serverapp[server_round] = found.central
            clock.lap("evaluate")

        failures = failures_by_name(grid, [*replies, *answers])
        asked = len(messages) if plan is None else plan.asked
        rows += traffic.rows(server_round, clients=asked, failed=len(failures))
        rows += round_rows(server_round, strategy.round_metrics(server_round))
        if plan is not None and strategy.clock is not None:
            rows += plan.rows(server_round)
            strategy.state[CLOCK] = strategy.clock.state()
        turned_away: dict[str, str] = getattr(grid, "turned_away", dict)()
        report = RoundReport(server_round, last, rows, clock.laps, turned_away | failures, counts)
        if _notify(callbacks, strategy, report):
            break
    if selection is not None and (chosen := selection.choose(strategy)) is not None:
        result.arrays = to_record(strategy.state["arrays"])
        found = measured(chosen, result.arrays, "test")
        traffic = Traffic()
        traffic.add(found.sent, found.answers)
        rows = [*found.rows, *round_rows(chosen, traffic.bytes)]
        failures = failures_by_name(grid, [*found.answers, *found.beside])
        done = RoundReport(chosen, last, rows, {}, failures, found.counts, concludes=True)
        _notify(callbacks, strategy, done)
    for callback in callbacks:
        callback.on_end(strategy)
    return result


def _ask(
    strategy: RoundStrategy,
    grid: Grid,
    timeout: float | None,
    traffic: Traffic,
    nodes: Sequence[int],
    server_round: int,
    question: str,
    arrays: Mapping[str, Tensors],
    **values: Any,
) -> list[ClientUpdate]:
    """Queries clients, and counts the messages as traffic of the next round."""
    records: dict[str, ArrayRecord | ConfigRecord] = {n: to_record(t) for n, t in arrays.items()}
    records["config"] = ConfigRecord({"question": question, "server-round": server_round, **values})
    content = RecordDict(records)  # type: ignore[arg-type]
    strategy.expect(content, question)
    messages = messages_to(nodes, content, MessageType.QUERY, server_round)
    replies = exchange(grid, messages, timeout)
    traffic.add(messages, replies)
    if strategy.clock is not None:
        strategy.clock.exchanged(messages, replies, grid)
    return strategy.accept(server_round, replies)


def exchange(grid: Grid, messages: Sequence[Message], timeout: float | None) -> list[Message]:
    """Sends messages and returns exactly one reply to each, ordered by client.

    For a client that did not answer in time, the reply is an error, as for one that failed. (A
    SuperLink reports a lost node under its own id, with the id of the message.)
    """
    if not messages:
        return []
    answered: dict[tuple[int, str], Message] = {}
    failed: dict[str | int, Message] = {}
    for reply in grid.send_and_receive(messages, timeout=timeout):
        about = reply.metadata
        if reply.has_content():
            answered[about.src_node_id, about.reply_to_message_id] = reply
        else:
            failed[about.src_node_id] = reply
            failed[about.reply_to_message_id] = reply
    replies: list[Message] = []
    for message in messages:
        node, number = message.metadata.dst_node_id, message.metadata.message_id
        reply = answered.get((node, number)) or failed.get(node) or failed.get(number)
        replies.append(reply or error_reply(message, f"node {node} did not answer in time"))
    return sorted(replies, key=lambda reply: (reply.has_error(), client_of(reply)))


def failures_by_name(grid: Grid, replies: Iterable[Message]) -> dict[str, str]:
    """The reason of every failed client, by its node's name in the grid."""
    failed = {r.metadata.src_node_id: reason(r) for r in replies if r.has_error()}
    if not failed:
        return {}
    names = {node.node_id: node.name for node in grid.get_nodes() if node.node_id in failed}
    return {names.get(node) or f"node {node}": why for node, why in failed.items()}


def _notify(callbacks: Iterable[Callback], strategy: RoundStrategy, report: RoundReport) -> bool:
    """Calls every observer; returns whether one of them raised `StopIteration`."""
    stop = False
    for callback in callbacks:
        try:
            callback.on_round(strategy, report)
        except StopIteration:
            stop = True
    return stop


class _Clock:
    """Wall-clock seconds by phase."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.laps[phase] = now - self._last
        self._last = now
