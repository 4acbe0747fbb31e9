"""The strategy of a method, as a Flower strategy.

A method usually overrides `broadcast` (what goes down) and `aggregate` (how updates become the
next model). The base samples cohorts reproducibly, shares one message content among all clients
that get the same, sorts replies by client, keeps the server's state by name so that it can be
checkpointed, and can start at any round. As a Flower `Strategy` it also runs in any ``ServerApp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, cast, get_args

from torch import nn

from fedlab.federation.client_updates import (
    ClientUpdate,
)
from fedlab.federation.message_rounds import COHORT as COHORT
from fedlab.federation.message_rounds import MessageRounds
from fedlab.federation.preaggregation import client_weight
from fedlab.federation.record_layout import METRICS, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.federation.server_config import ServerSettings
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.derived import fitted
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.renamed import honour_old_names
from fedlab.strategies.parameters import P, StrategyParameters
from fedlab.virtual_time.clock import VirtualClock

RENAMED = {
    "combine": "aggregate",
    "mean": "weighted_mean",
    "figures": "round_metrics",
    "linear": "needs_only_mean",
    "one_mean": "dp_compatible",
}

SEES_UPDATES = {
    *("aggregate", "weight", "weighted_mean", "aggregate_train"),
    *("before_rounds", "before_training"),
}
"""Methods of a strategy that read the clients' updates or answers."""


class Strategy(MessageRounds, Generic[P]):
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
        self.drawn: dict[int, list[int]] = {}
        """The cohort that was asked before training and has yet to train, by round."""

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

    def before_training(self, server_round: int, ask: Ask) -> None:
        """Queries the clients of a round before they train; by default does nothing.

        Args:
            server_round: The round, from 1.
            ask: Asks the clients of the round a question.
        """

    @classmethod
    def overrides(cls, *hooks: str) -> bool:
        """Whether the method overrides one of the hooks with these names."""
        return any(getattr(cls, hook) is not getattr(Strategy, hook) for hook in hooks)

    @property
    def asks_each_round(self) -> bool:
        """Whether the method overrides `before_training`."""
        return self.overrides("before_training")

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that trains, by record name."""
        return {"arrays": self.state["arrays"]}

    def sent_to_test(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that tests, by record name; by default the model alone."""
        return {"arrays": self.state["arrays"]}

    def sent_to(self, client: int) -> dict[str, Tensors]:
        """What goes down to one client that trains or tests, beside what goes to all.

        Clients that get different records train one by one.

        Args:
            client: Its index.

        Returns:
            Tensors by record name; by default none.
        """
        return {}

    @property
    def sends_to_one(self) -> bool:
        """Whether the method overrides `sent_to`."""
        return type(self).sent_to is not Strategy.sent_to

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
        """The server's tensors by all names of the network's state dict, frozen ones included.

        Those of a global model that never come to the server are as they were initialised.
        """
        own = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        moving: set[str] = set() if self.has_global_model else set(self.anatomy.moving)
        still = {name: tensor.detach() for name, tensor in own.items() if name not in moving}
        return self.anatomy.state_dict({**still, **self.state["arrays"]})


def _named_parameters(cls: type) -> type[StrategyParameters] | None:
    """The parameters by which a class is generic: those of ``class FedProx(Strategy[Mine])``."""
    for base in vars(cls).get("__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(argument, StrategyParameters):
                return argument
    return None


honour_old_names(Strategy, RENAMED)
