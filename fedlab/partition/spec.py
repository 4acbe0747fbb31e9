"""The ``partition`` block of a scenario."""

from __future__ import annotations

from typing import Any, cast

from pydantic import PositiveInt, field_validator, model_validator

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.partition.base import DomainSkew, LabelNoise, LabelSkew, QuantitySkew
from fedlab.partition.held_out import HeldOut, check_held_out, count_held_out
from fedlab.partition.label_budget import LabelBudget


class PartitionSpec(ConfigBlock):
    """How the pooled samples are divided among clients.

    The generators compose: domains first, then labels within the domains a client sees, then
    sizes, then which labels are known and which are wrong.

    Attributes:
        clients: Number of clients.
        domains: Which domains a client sees.
        labels: How the classes are divided among the clients that see a domain.
        quantity: How many samples a client has.
        label_budget: Which of them are labelled.
        label_noise: Which of their labels are wrong.
        held_out_clients: Clients that never train and are asked nothing before the first round:
            their share of all clients, or a list of indices. They are tested with the global model
            in every evaluated round.
    """

    clients: PositiveInt
    domains: Chosen[DomainSkew] = "one_per_client"  # type: ignore[assignment]
    labels: Chosen[LabelSkew] = "iid"  # type: ignore[assignment]
    quantity: Chosen[QuantitySkew] = "natural"  # type: ignore[assignment]
    label_budget: LabelBudget = LabelBudget()
    label_noise: Chosen[LabelNoise] = "none"  # type: ignore[assignment]
    held_out_clients: HeldOut | None = None

    @field_validator("held_out_clients", mode="before")
    @classmethod
    def _a_list_holds_indices(cls, value: Any) -> Any:
        return tuple(cast("list[Any]", value)) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _somebody_trains(self) -> PartitionSpec:
        if self.held_out_clients is not None:
            check_held_out(self.held_out_clients, self.clients)
        return self

    @property
    def training_clients(self) -> int:
        """Number of clients that may train."""
        return self.clients - count_held_out(self.held_out_clients, self.clients)
