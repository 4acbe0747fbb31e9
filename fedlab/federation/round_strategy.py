"""What the round loop and the observers of a run need of a strategy."""

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
may train, and returns their answers in the order of client indices (see `ClientTrainer.answer`)."""


class RoundStrategy(Protocol):
    """A strategy as the round loop sees it; `fedlab.strategies.base.Strategy` says what each does.

    Attributes:
        parameters: The scenario's ``strategy`` block.
        settings: Sampling, evaluation and tolerance.
        state: The server's tensors by record, which a checkpoint keeps.
        clock: Virtual time; None where time does not matter.
        anatomy: What is known of the network.
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
        """Asks the clients whatever the method wants to know before the first round."""
        ...

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """What goes down to every client that trains, by record name."""
        ...

    def config(self, server_round: int) -> dict[str, Any]:
        """Plain values that go down with it."""
        ...

    def upload_bytes(self, down: int) -> int:
        """Bytes that come up from a client to which so many went down."""
        ...

    def saved(self) -> Tensors:
        """The server's tensors by all names of the network's state dict."""
        ...

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """Numbers of a round as a whole, by metric."""
        ...

    def expect(self, content: RecordDict, question: str = "") -> None:
        """Has a message say what its reply looks like."""
        ...

    def accept(self, server_round: int, replies: Iterable[Message]) -> list[ClientUpdate]:
        """The updates of a round, unless too many clients failed."""
        ...

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client that is to train."""
        ...

    def plan(self, server_round: int, messages: Sequence[Message], grid: Grid) -> RoundPlan | None:
        """What becomes of the messages on the virtual clock."""
        ...

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next state, from the replies of those that trained."""
        ...

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client that is to test."""
        ...

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """What the tests say, from their replies."""
        ...
