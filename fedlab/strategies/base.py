"""The strategy of a method, as a Flower strategy.

A method usually overrides `broadcast` (what goes down) and `aggregate` (how updates become the
next model). The base samples cohorts reproducibly, shares one message content among all clients
that get the same, sorts replies by client, keeps the server's state by name so that it can be
checkpointed, and can start at any round. As a Flower `Strategy` it also runs in any ``ServerApp``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, cast, get_args

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.serverapp.strategy import Strategy as FlowerStrategy
from torch import nn

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
from fedlab.federation.preaggregation import REQUEST, client_weight, request
from fedlab.federation.record_layout import EXPECTED, METRICS, Expected, Layout, layout_of
from fedlab.federation.round_strategy import Ask
from fedlab.federation.rounds import Selection, run_rounds
from fedlab.federation.server_config import ServerSettings
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.flower_compat import is_refused
from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.derived import fitted
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors, from_record, to_record
from fedlab.renamed import honour_old_names
from fedlab.strategies.parameters import P, StrategyParameters
from fedlab.virtual_time.clock import CLOCK, VirtualClock
from fedlab.virtual_time.round_plan import RoundPlan

COHORT = "cohort"
"""Random stream for drawing the clients that train."""

MAX_ERRORS = 3
"""Largest number of failed clients' reasons, often whole tracebacks, in an error message."""

RENAMED = {
    "combine": "aggregate",
    "mean": "weighted_mean",
    "figures": "round_metrics",
    "linear": "needs_only_mean",
    "one_mean": "dp_compatible",
}

SEES_UPDATES = {"aggregate", "weight", "weighted_mean", "aggregate_train", "before_rounds"}
"""Methods of a strategy that read the clients' updates or answers."""


class Strategy(FlowerStrategy, Generic[P]):
    """Sends a model down and takes the weighted mean of what comes back.

    Args:
        model: The network, for the names of tensors and the kinds of layers they belong to.
        parameters: The scenario's ``strategy`` block.
        settings: Sampling, evaluation and tolerance.
    """

    Parameters: ClassVar[type[StrategyParameters]] = StrategyParameters
    norm_policy: ClassVar[NormPolicy] = NormPolicy.SHARE_ALL
    needs_only_mean: bool = True
    """Whether `aggregate` uses only `weighted_mean`, so that clients' updates may be summed early.

    By default False for a class that overrides `aggregate`, `weight` or `weighted_mean`.
    """
    metrics: frozenset[str] = METRICS
    """Names of the clients' metrics besides ``num-examples``; devices may send no others."""
    dp_compatible: bool = True
    """Whether the state depends on the updates only through the weighted mean of ``arrays``.

    That mean can then be made private (`fedlab.privacy`). By default False for a class that
    overrides one of `SEES_UPDATES`.
    """

    takes_changed_updates: ClassVar[bool] = True
    """Whether updates may be transformed before `aggregate` reads them (`fedlab.updates`)."""
    asks_for_means: ClassVar[bool] = True
    """Whether `aggregate` computes the next state from `weighted_mean`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        honour_old_names(cls, RENAMED)
        own = vars(cls).keys()
        if "Parameters" not in own and (parameters := _named_parameters(cls)):
            cls.Parameters = parameters
        if "needs_only_mean" not in own and {"aggregate", "weight", "weighted_mean"} & own:
            cls.needs_only_mean = False
        if "dp_compatible" not in own and SEES_UPDATES & own:
            cls.dp_compatible = False
        if "Parameters" in vars(cls):
            cls.Parameters.server_half = cls

    def __init__(
        self,
        model: nn.Module,
        parameters: P | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        defaults = parameters or self.Parameters(name=type(self).__name__.lower())
        self.parameters = cast(P, defaults)
        self.settings = settings or ServerSettings()
        self.model, self.anatomy = model, anatomy_of(model)
        self.shared, local = self.parameters.divide(model, self.norm_policy)
        self.whole = not local
        fleet = self.settings.fleet
        self.clock = VirtualClock(fleet) if fleet is not None else None
        """Virtual time; None if the scenario has no devices."""
        self.state: dict[str, Tensors] = {}
        self.rounds = 0
        """Rounds of the whole run; set at its start."""
        self.population = 0
        """Clients that may train, known once the first cohort is drawn."""

    # ------------------------------------------------------------------ what a method overrides

    @property
    def has_global_model(self) -> bool:
        """Whether the server's tensors are a whole model that can be tested by itself."""
        return self.whole

    def initialise(self, model: Tensors) -> None:
        """Sets the server's state from the initial model."""
        own = dict(self.model.named_buffers())  # includes those that are not in the state dict
        self.state = {
            "arrays": {
                name: model[name] if name in model else own[name].detach() for name in self.shared
            }
        }

    def before_rounds(self, ask: Ask) -> None:
        """Queries the clients before the first round; by default does nothing.

        Args:
            ask: Asks all clients that may train a question
                (`fedlab.federation.round_strategy.Ask`).
        """

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that trains, by record name."""
        return {"arrays": self.state["arrays"]}

    def config(self, server_round: int) -> dict[str, Any]:
        """Plain values that go down with the tensors."""
        return {"server-round": server_round, "rounds": self.rounds}

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The layout of a reply's tensors; by default that of the message.

        A server with real devices refuses replies of any other layout.

        Args:
            down: The layout of the message's tensors.
            question: The query before the first round; empty for training.
        """
        return down

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Computes the next state from a round's updates, in the order of client indices."""
        self.state["arrays"] = self.weighted_mean(updates, "arrays")

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """The round's own values for the history, by metric; by default none."""
        return {}

    @property
    def replies_needed(self) -> int:
        """Smallest number of replies that a round needs."""
        return 1

    def upload_bytes(self, down: int) -> int:
        """Bytes that come up from a client to which `down` bytes went down.

        The virtual clock needs the number before training. By default both are equal.
        """
        return down

    # ------------------------------------------------------------------ what methods can use

    def weight(self, update: ClientUpdate) -> float:
        """A client's weight in a mean."""
        return client_weight(update.metrics, self.parameters.weighting)

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """The weighted mean of one record over clients."""
        if updates[0].total is not None:
            return updates[0].total.mean(record)
        weights = [self.weight(update) for update in updates]
        sent = [dict(update.arrays[record]) for update in updates]
        return weighted_mean(sent, weights, self.anatomy.kept_whole)

    def settle(self, updates: Sequence[ClientUpdate]) -> None:
        """Recomputes buffers that are derived from weights, unless there is only one update."""
        if self.anatomy.derived and len(updates) > 1:
            self.state["arrays"] = fitted(self.model, self.state["arrays"])

    def saved(self) -> Tensors:
        """The server's tensors by all names of the network's state dict, frozen ones included."""
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        moving = set(self.anatomy.moving)
        still = {name: tensor.detach() for name, tensor in own.items() if name not in moving}
        return self.anatomy.state_dict({**still, **self.state["arrays"]})

    # ------------------------------------------------------------------ Flower's interface

    def cohort(self, server_round: int, grid: Grid, purpose: str, fraction: float) -> list[int]:
        """Node ids that take part, drawn over sorted ids so that arrival order is no matter."""
        nodes = self.settings.may_train(grid.get_node_ids())
        self.population = len(nodes)
        size = round(fraction * len(nodes))
        if self.clock is not None and purpose == COHORT:
            nodes, size = self.clock.invite(nodes, size)
        generator = rng.generator(self.settings.seed, purpose, server_round)
        chosen = generator.choice(len(nodes), size=size, replace=False)
        return [nodes[index] for index in sorted(chosen)]

    def _messages(
        self, server_round: int, config: ConfigRecord, nodes: Iterable[int], message_type: str
    ) -> list[Message]:
        train = message_type == MessageType.TRAIN
        # Evaluation needs only the model, without the records that training uses.
        down = self.broadcast(server_round) if train else {"arrays": self.state["arrays"]}
        records: dict[str, ArrayRecord | ConfigRecord] = {
            name: to_record(tensors) for name, tensors in down.items()
        }
        records["config"] = ConfigRecord({**config, **self.config(server_round)})
        # The norm of each client's update cannot be computed from a sum.
        if train and self.needs_only_mean and self.settings.update_norm is None:
            records[REQUEST] = request(self.parameters.weighting, self.anatomy.kept_whole)
        content = RecordDict(records)  # type: ignore[arg-type]
        if train:
            self.expect(content)
        return [
            Message(
                content, dst_node_id=node, message_type=message_type, group_id=f"{server_round}"
            )
            for node in nodes
        ]

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
        nodes = self.cohort(server_round, grid, COHORT, self.settings.fraction_train)
        return self._messages(server_round, config, nodes, MessageType.TRAIN)

    def plan(self, server_round: int, messages: Sequence[Message], grid: Grid) -> RoundPlan | None:
        """The outcome of a round's messages on the virtual clock; None without a clock."""
        return self.clock and self.clock.plan(server_round, messages, grid, self.upload_bytes)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message per client that tests its own model on its own test split."""
        self._adopt(arrays)
        purpose = "evaluation cohort"
        nodes = self.cohort(server_round, grid, purpose, self.settings.fraction_evaluate)
        return self._messages(server_round, config, nodes, MessageType.EVALUATE)

    def _adopt(self, arrays: ArrayRecord) -> None:
        """Takes over the model that Flower's own loop hands in before the first round."""
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


def _named_parameters(cls: type) -> type[StrategyParameters] | None:
    """The parameters by which a class is generic: those of ``class FedProx(Strategy[Mine])``."""
    for base in vars(cls).get("__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(argument, StrategyParameters):
                return argument
    return None


honour_old_names(Strategy, RENAMED)
