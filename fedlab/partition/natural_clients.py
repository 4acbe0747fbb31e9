"""The ``partition.clients`` block of natural clients: each is an owner of the data."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from fedlab.config.component import ConfigBlock


class NaturalClients(ConfigBlock):
    """Clients that are owners of the data: a writer, a patient, a hospital.

    Attributes:
        name: ``natural``; ``clients: natural`` is short for it.
        min_samples: Training samples that an owner needs to be a client (of new owners, test
            samples); those who have fewer are left out and counted.
        limit: Owners to keep of those who can be trained, drawn by the scenario's seed; all by
            default.
        group: Owners that are packed into one client, in shuffled order; the last client may have
            fewer.
        per_domain: Whether the samples of an owner are a client in each domain; by default an
            owner with samples in several domains is one client that sees them all.
        new_owners: What becomes of owners with test samples alone: they are held-out clients,
            never trained (``held_out``), or no clients (``left_out``).
    """

    name: Literal["natural"] = "natural"
    min_samples: PositiveInt = 1
    limit: PositiveInt | None = None
    group: PositiveInt = 1
    per_domain: bool = False
    new_owners: Literal["held_out", "left_out"] = "held_out"

    @property
    def most(self) -> int | None:
        """The number of clients that may train, at most; None where it depends on the data."""
        return None if self.limit is None else -(-self.limit // self.group)
