"""Rounds as messages: implements Flower's `Strategy` interface with a method's hooks.

Which clients train, one message content for all that get the same, replies in the order of clients,
how many may fail. What goes down and what becomes of the updates are hooks, which
`fedlab.strategies.base.Strategy` defines and methods override.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from fedlab import rng
from fedlab.errors import RunError
from fedlab.federation.callbacks import Callback
from fedlab.federation.check_state import check_aggregated
from fedlab.federation.client_updates import (
    ClientUpdate,
    decode,
    mean_metrics,
    reason,
    unique_errors,
)
from fedlab.federation.measuring import EvaluateFunction
from fedlab.federation.messages import messages_to
from fedlab.federation.preaggregation import REQUEST, request
from fedlab.federation.record_layout import EXPECTED, METRICS, Expected, layout_of
from fedlab.federation.round_hooks import RoundHooks
from fedlab.federation.rounds import Selection, run_rounds
from fedlab.federation.server_config import ServerSettings
from fedlab.flower_compat import is_refused
from fedlab.models.anatomy import Anatomy
from fedlab.records import Tensors, from_record, to_record
from fedlab.virtual_time.clock import CLOCK, VirtualClock
from fedlab.virtual_time.round_plan import RoundPlan

COHORT = "cohort"
"""Random stream for drawing the clients that train."""

TESTERS = "evaluation cohort"
"""Random stream for drawing the clients that test."""

MAX_ERRORS = 3
"""Largest number of failed clients' reasons, often whole tracebacks, in an error message."""


class MessageRounds(RoundHooks):
    """Runs the rounds of a method over any Flower grid, from any round on."""

    parameters: Any
    settings: ServerSettings
    anatomy: Anatomy
    metrics: frozenset[str]
    needs_only_mean: bool
    clock: VirtualClock | None
    state: dict[str, Tensors]
    rounds: int
    population: int
    drawn: dict[int, list[int]]

    def asked(self, server_round: int, grid: Grid) -> list[int]:
        """Node ids of the round's cohort, which `before_training` asks and which then trains.

        It is drawn once: while clients answer, others may become available, or join.
        """
        nodes = self.cohort(server_round, grid, COHORT, self.settings.fraction_train)
        self.drawn = {server_round: nodes}
        return nodes

    def cohort(self, server_round: int, grid: Grid, purpose: str, fraction: float) -> list[int]:
        """Node ids that take part, drawn over sorted ids, independently of the order of arrival."""
        nodes = self.settings.may_train(grid.get_node_ids())
        self.population = len(nodes)
        size = round(fraction * len(nodes))
        if self.clock is not None and purpose == COHORT:
            nodes, size = self.clock.invite(nodes, size)
        generator = rng.generator(self.settings.seed, purpose, server_round)
        chosen = generator.choice(len(nodes), size=size, replace=False)
        return [nodes[index] for index in sorted(chosen)]

    def _messages(
        self,
        server_round: int,
        config: ConfigRecord,
        nodes: Sequence[int],
        message_type: str,
        grid: Grid | None = None,
    ) -> list[Message]:
        """One message for each node; with `grid`, with the tensors for each single client."""
        train = message_type == MessageType.TRAIN
        # A test mostly needs only the model, without the records that training uses.
        down = self.broadcast(server_round) if train else self.sent_to_test(server_round)
        records: dict[str, ArrayRecord | ConfigRecord] = {
            name: to_record(tensors) for name, tensors in down.items()
        }
        # Clients draw their batches by the round, also under a method whose `config` omits it.
        standard = {"server-round": server_round, "rounds": self.rounds}
        own = {**standard, **config, **self.config(server_round)}
        records["config"] = ConfigRecord(own)
        # The norm of each client's update cannot be computed from a sum.
        if train and self.needs_only_mean and self.settings.update_norm is None:
            records[REQUEST] = request(self.parameters.weighting, self.anatomy.kept_whole)
        content = RecordDict(records)  # type: ignore[arg-type]
        if train:
            self.expect(content)
        if grid is None or not self.sends_to_one:
            return messages_to(nodes, content, message_type, server_round)
        clients = {node: client for client, node in enumerate(sorted(grid.get_node_ids()))}
        own = {node: self.sent_to(clients[node]) for node in nodes}
        return messages_to(nodes, content, message_type, server_round, own)

    def expect(self, content: RecordDict, question: str = "") -> None:
        """Adds the reply's layout to a message, where it differs from the message's own."""
        down = layout_of(content)
        up = self.sent_up(down, question)
        if up is not down or self.metrics != METRICS:
            content[EXPECTED] = Expected(up, self.metrics)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message per client of the cohort; all share one content object."""
        self._adopt(arrays)
        nodes = self.drawn.pop(server_round, None)
        if nodes is None:
            nodes = self.cohort(server_round, grid, COHORT, self.settings.fraction_train)
        return self._messages(server_round, config, nodes, MessageType.TRAIN, grid)

    def plan(self, server_round: int, messages: Sequence[Message], grid: Grid) -> RoundPlan | None:
        """The outcome of a round's messages on the virtual clock; None without a clock."""
        return self.clock and self.clock.plan(server_round, messages, grid, self.upload_bytes)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message per client that tests its own model on its own test split."""
        self._adopt(arrays)
        nodes = self.cohort(server_round, grid, TESTERS, self.settings.fraction_evaluate)
        return self._messages(server_round, config, nodes, MessageType.EVALUATE, grid)

    def _adopt(self, arrays: ArrayRecord) -> None:
        """Adopts the model that Flower's own loop passes before the first round."""
        if not self.state:
            self.initialise(from_record(arrays))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregates the replies that carry an update, in the order of client indices.

        If all weights are 0 (no client had samples to learn from), the state does not change.

        Raises:
            RunError: If more clients failed than `ServerSettings.max_failed_share` allows, or
                `aggregate` leaves a state of other names or shapes.
        """
        updates = self.accept(server_round, replies)
        if any(self.weight(update) > 0 for update in updates):
            shapes = {name: tensor.shape for name, tensor in self.state["arrays"].items()}
            returned: object = self.aggregate(server_round, updates)
            check_aggregated(type(self).__name__, returned, shapes, self.state["arrays"])
            self.settle(updates)
        return to_record(self.state["arrays"]), mean_metrics(updates)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The examples-weighted mean of the clients' metrics.

        Raises:
            RunError: If more clients failed than `ServerSettings.max_failed_share` allows.
        """
        replies = list(replies)
        return mean_metrics(self.accept(server_round, replies)) if replies else None

    def accept(self, server_round: int, replies: Iterable[Message]) -> list[ClientUpdate]:
        """The updates of a round, unless too many clients failed.

        A client whose update was refused (`fedlab.federation.screening`) does not count as failed:
        diverging updates are a result of the scenario's settings.
        """
        replies = list(replies)
        errors = [reason(r) for r in replies if r.has_error() and not is_refused(r)]
        if len(replies) - len(errors) < self.settings.needed(len(replies)):
            raise RunError(
                f"round {server_round}: {len(errors)} of {len(replies)} clients failed and "
                f"{self.settings.tolerance}: {unique_errors(errors, MAX_ERRORS)}"
            )
        return decode(replies)

    def summary(self) -> None:
        """Flower prints a strategy's settings here; fedlab prints the scenario instead."""

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFunction | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        first_round: int = 1,
        selection: Selection | None = None,
    ) -> Result:
        """Runs rounds `first_round` to `num_rounds`; see `fedlab.federation.rounds.run_rounds`.

        Args:
            grid: Carries messages to the clients.
            initial_arrays: The initial model; ignored when resuming (`first_round` > 1), since
                the state then comes from the checkpoint.
            num_rounds: The last round.
            timeout: Seconds to wait for a round's replies; None waits for all.
            train_config: Extra values for training messages.
            evaluate_config: Extra values for evaluation messages.
            evaluate_fn: Tests the global model on the server's side; keys of its record are
                ``domain/metric``.
            callbacks: Observers, called after every round.
            first_round: Where to start.
            selection: Chooses the round whose model is the run's; by default the last.
        """
        self.rounds = num_rounds
        if first_round == 1:
            self.initialise(from_record(initial_arrays))
        elif self.clock is not None:
            self.clock.resume(self.state[CLOCK])
        return run_rounds(
            self,
            grid,
            rounds=range(first_round, num_rounds + 1),
            timeout=timeout,
            train_config=train_config or ConfigRecord(),
            evaluate_config=evaluate_config or ConfigRecord(),
            evaluate_fn=evaluate_fn,
            callbacks=callbacks,
            selection=selection,
        )
