"""The hooks by which a method defines its rounds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from flwr.serverapp.strategy import Strategy as FlowerStrategy

from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Layout
from fedlab.federation.round_strategy import Ask
from fedlab.records import Tensors


class RoundHooks(FlowerStrategy):
    """The hooks of a round: what is sent down, what is sent up, and how it is aggregated."""

    @abstractmethod
    def initialise(self, model: Tensors) -> None:
        """Sets the server's state from the initial model."""

    @abstractmethod
    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """Tensors for every client that trains, by record name."""

    @abstractmethod
    def sent_to_test(self, server_round: int) -> dict[str, Tensors]:
        """Tensors for every client that tests, by record name."""

    @abstractmethod
    def sent_to(self, client: int) -> dict[str, Tensors]:
        """Tensors for one client beside those for every client, by record name."""

    @property
    @abstractmethod
    def sends_to_one(self) -> bool:
        """Whether the method overrides `sent_to`."""

    @abstractmethod
    def config(self, server_round: int) -> dict[str, Any]:
        """Plain values that go down with them."""

    @abstractmethod
    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The layout of a reply."""

    @abstractmethod
    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Computes the next state from a round's updates."""

    @property
    @abstractmethod
    def has_global_model(self) -> bool:
        """Whether the server's tensors are a model that can be tested."""

    @property
    @abstractmethod
    def replies_needed(self) -> int:
        """The smallest number of replies that a round needs."""

    @abstractmethod
    def before_rounds(self, ask: Ask) -> None:
        """Asks clients before the first round."""

    @abstractmethod
    def before_training(self, server_round: int, ask: Ask) -> None:
        """Asks a round's clients before they train."""

    @property
    @abstractmethod
    def asks_each_round(self) -> bool:
        """Whether the method overrides `before_training`."""

    @abstractmethod
    def round_metrics(self, server_round: int) -> dict[str, float]:
        """Numbers of a round for the history."""

    @abstractmethod
    def saved(self) -> Tensors:
        """The server's tensors under all names of the network's state dict."""

    @abstractmethod
    def weight(self, update: ClientUpdate) -> float:
        """A client's weight in a mean."""

    @abstractmethod
    def settle(self, updates: Sequence[ClientUpdate]) -> None:
        """Recomputes buffers that are derived from the state's weights."""

    @abstractmethod
    def upload_bytes(self, down: int) -> int:
        """Bytes that come up from a client to which `down` bytes went down."""
