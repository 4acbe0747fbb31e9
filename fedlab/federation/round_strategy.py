"""The interface of a strategy for the round loop and for observers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.server_config import ServerSettings
from fedlab.models.anatomy import Anatomy
from fedlab.records import Tensors
from fedlab.virtual_time.clock import VirtualClock
from fedlab.virtual_time.round_plan import RoundPlan

Ask = Callable[..., list[ClientUpdate]]
"""``ask(question, arrays, **values)``: sends named tensors and plain values to every client that
may train, or to those of a round, and returns their answers in the order of client indices (see
`ClientTrainer.answer`)."""


class RoundStrategy(Protocol):
    """The members of `fedlab.strategies.base.Strategy` that the round loop uses.

    Attributes:
        parameters: The scenario's ``strategy`` block.
        settings: Sampling, evaluation and tolerance.
        state: The server's tensors by record, which a checkpoint keeps.
        clock: Virtual time; None if the scenario has no devices.
        anatomy: Names and kinds of the network's tensors.
    """

    parameters: Any
    settings: ServerSettings
    state: dict[str, Tensors]
    clock: VirtualClock | None
    anatomy: Anatomy

    @property
    def has_global_model(self) -> bool:
        """Whether the tensors are a whole model that can be tested by itself."""
        ...

    def before_rounds(self, ask: Ask) -> None:
        """Queries the clients before the first round."""
        ...

    def before_training(self, server_round: int, ask: Ask) -> None:
        """Queries a round's clients before they train."""
        ...

    @property
    def asks_each_round(self) -> bool:
        """Whether `before_training` queries clients."""
        ...

    def asked(self, server_round: int, grid: Grid) -> list[int]:
        """Node ids of the clients that `before_training` queries."""
        ...

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that trains, by record name."""
        ...

    def sent_to_test(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that tests, by record name."""
        ...

    def sent_to(self, client: int) -> dict[str, Tensors]:
        """Tensors for one client in addition to `broadcast`, by record name."""
        ...

    def config(self, server_round: int) -> dict[str, Any]:
        """Plain values that go down with it."""
        ...

    def upload_bytes(self, down: int) -> int:
        """Bytes that come up from a client to which `down` bytes went down."""
        ...

    def saved(self) -> Tensors:
        """The server's tensors by all names of the network's state dict."""
        ...

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """The round's own values for the history, by metric."""
        ...

    def expect(self, content: RecordDict, question: str = "") -> None:
        """Adds the reply's layout to a message."""
        ...

    def accept(self, server_round: int, replies: Iterable[Message]) -> list[ClientUpdate]:
        """The updates of a round, unless too many clients failed."""
        ...

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client that trains."""
        ...

    def plan(self, server_round: int, messages: Sequence[Message], grid: Grid) -> RoundPlan | None:
        """The outcome of the messages on the virtual clock; None without a clock."""
        ...

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next state, from the replies to training messages."""
        ...

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client that tests."""
        ...

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The mean metrics of the replies to evaluation messages."""
        ...
