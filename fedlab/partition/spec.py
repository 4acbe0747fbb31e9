"""The ``partition`` block of a scenario."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import PositiveInt, PrivateAttr, field_validator, model_validator

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.errors import InputError
from fedlab.partition.base import DomainSkew, LabelNoise, LabelSkew, QuantitySkew
from fedlab.partition.held_out import HeldOut, check_held_out, count_held_out
from fedlab.partition.label_budget import LabelBudget
from fedlab.partition.label_proportions import LabelProportions
from fedlab.partition.left_out_samples import check_left_out
from fedlab.partition.natural_clients import NaturalClients


class PartitionSpec(ConfigBlock):
    """The partition of the pooled samples among clients.

    The generators compose: domains first, then labels within the domains a client sees, then
    sizes, then which labels are known, which are wrong, and which are known as shares of bags.

    Attributes:
        clients: Number of clients; or ``natural``, where each owner of the data is one, with all
            that is its own: then `domains` and `labels` stay as they are by default, and of the
            quantity skews ``natural`` and ``equal`` are left. Everything else composes.
        domains: Which domains a client sees.
        labels: How the classes are divided among the clients that see a domain.
        quantity: How many samples a client has.
        label_budget: Which of them are labelled.
        label_noise: Which of their labels are wrong.
        label_proportions: In which bags samples lie, of which clients know the shares of the
            classes, and no sample's own; labels are known by default.
        known_label: What is known of a sample: its ``class``, or only which ``client`` has it. The
            network then learns to predict the client; `fedlab discover` derives classes from it.
        held_out_clients: Clients that never train and are asked nothing before the first round:
            their share of all clients, or a list of indices. They are tested with the global model
            in every evaluated round.
        left_out_samples: Training samples that no client uses, as indices into the training pool
            (domain after domain, in the order of the sources), which `fedlab audit` names them by,
            too. They are left out at the end: who has which of the others stays the same.
    """

    clients: PositiveInt | NaturalClients
    domains: Chosen[DomainSkew] = "one_per_client"  # type: ignore[assignment]
    labels: Chosen[LabelSkew] = "iid"  # type: ignore[assignment]
    quantity: Chosen[QuantitySkew] = "natural"  # type: ignore[assignment]
    label_budget: LabelBudget = LabelBudget()
    label_noise: Chosen[LabelNoise] = "none"  # type: ignore[assignment]
    label_proportions: LabelProportions | None = None
    known_label: Literal["class", "client"] = "class"
    held_out_clients: HeldOut | None = None
    left_out_samples: tuple[int, ...] = ()
    _counted: tuple[int, int] | None = PrivateAttr(default=None)

    @field_validator("clients", mode="before")
    @classmethod
    def _a_number_or_a_block(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip().isdigit():
            if value != "natural":
                raise ValueError(f"'{value}' is no number of clients; write one, or natural")
            return NaturalClients()
        return NaturalClients.model_validate(value) if isinstance(value, dict) else value

    @field_validator("held_out_clients", mode="before")
    @classmethod
    def _a_list_holds_indices(cls, value: Any) -> Any:
        return tuple(cast("list[Any]", value)) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _some_train(self) -> PartitionSpec:
        if self.held_out_clients is not None and isinstance(self.clients, int):
            check_held_out(self.held_out_clients, self.clients)
        check_left_out(self.left_out_samples)
        return self

    def counted(self, clients: int, held_out: int) -> PartitionSpec:
        """The same block with the number of natural clients in the data.

        Its words stay as they are: a file that it is written to says ``natural``.

        Args:
            clients: Their number.
            held_out: How many of them are never trained.
        """
        block = self.model_copy()
        if not isinstance(self.clients, int):
            block._counted = (clients, held_out)
        return block

    @property
    def is_counted(self) -> bool:
        """Whether the number of clients is known: natural ones are counted in the data."""
        return isinstance(self.clients, int) or self._counted is not None

    @property
    def number_of_clients(self) -> int:
        """Number of clients.

        Raises:
            InputError: If they are natural, and the data have not been loaded.
        """
        return self._numbers()[0]

    @property
    def training_clients(self) -> int:
        """Number of clients that may train.

        Raises:
            InputError: As `number_of_clients`.
        """
        clients, held_out = self._numbers()
        return clients - held_out

    def _numbers(self) -> tuple[int, int]:
        if isinstance(self.clients, int):
            return self.clients, count_held_out(self.held_out_clients, self.clients)
        if self._counted is None:
            raise InputError(
                "partition.clients: how many natural clients there are is known when the data have "
                "been loaded (fedlab.prepare)"
            )
        return self._counted
