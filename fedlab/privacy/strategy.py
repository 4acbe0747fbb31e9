"""A wrapper of any strategy that replaces its mean of models by a private one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from fedlab import rng
from fedlab.federation.client_updates import ClientUpdate
from fedlab.privacy.accounting import epsilon_after
from fedlab.privacy.mechanism import private_mean
from fedlab.privacy.spec import PrivacySpec
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy


class Private(Strategy):
    """Clips every client's update, adds noise to their sum, and accounts for ε.

    Updates travel one by one, not as sums that were made where clients run: a client has to be
    clipped before it is in a sum.
    """

    needs_only_mean = False
    dp_compatible = True

    @property
    def privacy(self) -> PrivacySpec:
        """The scenario's ``privacy`` block."""
        assert self.settings.privacy is not None
        return self.settings.privacy

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Stores the number of messages, which determines the mean's denominator."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.invited = len(messages)
        return messages

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """The method's `aggregate`, with a mean that has this round's noise."""
        seeded, seed = self.privacy.noise == "seeded", self.settings.seed
        self.noise = rng.torch_generator(seed, "privacy", server_round) if seeded else None
        super().aggregate(server_round, updates)

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """The private mean; only the model has one."""
        assert record == "arrays", f"'{record}' would leave the server without noise"
        models = (update.arrays[record] for update in updates)
        received = self.state["arrays"]
        return private_mean(received, models, self.invited, self.privacy, self.noise)

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """The ε spent so far."""
        spent = epsilon_after(self.privacy, server_round, self.population, self.invited)
        return {**super().round_metrics(server_round), "epsilon": spent}
