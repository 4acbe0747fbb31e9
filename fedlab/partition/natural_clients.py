"""The ``partition.clients`` block of natural clients: each is an owner of the data."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import PositiveInt, model_validator

from fedlab.config.component import ConfigBlock
from fedlab.errors import visible

LONGEST = 24
"""Letters of an owner's name in a line or a column."""

MORE = re.compile(r" and \d+ more$")
"""What `name_of_several` adds to the first name."""


class NaturalClients(ConfigBlock):
    """Clients that are owners of the data: a writer, a patient, a hospital.

    Attributes:
        name: ``natural``; ``clients: natural`` is short for it.
        min_samples: Training samples that an owner needs to be a client (of new owners, test
            samples); those who have fewer are left out and counted.
        max_samples: Training samples of an owner that are used at most, drawn by the scenario's
            seed; all by default.
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
    max_samples: PositiveInt | None = None
    limit: PositiveInt | None = None
    group: PositiveInt = 1
    per_domain: bool = False
    new_owners: Literal["held_out", "left_out"] = "held_out"

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> NaturalClients:
        if self.max_samples is not None and self.max_samples < self.min_samples:
            raise ValueError(
                f"max_samples {self.max_samples} are fewer than the min_samples "
                f"{self.min_samples} that an owner needs; raise one or lower the other"
            )
        return self

    @property
    def most(self) -> int | None:
        """The number of clients that may train, at most; None where it depends on the data."""
        return None if self.limit is None else -(-self.limit // self.group)


def name_of_several(first: str, others: int) -> str:
    """What a client of several owners is called: ``ann and 4 more``.

    Args:
        first: The name of the first of them, in the order of names.
        others: How many more there are.
    """
    return f"{first} and {others} more" if others else first


def label_of(client: int, name: str | None) -> str:
    """``client 16, ann``; the number alone where a client has no name."""
    return f"client {client}" if name is None else f"client {client}, {short_name(name)}"


def short_name(name: str) -> str:
    """A name cut inside, for the ends of names tell them apart: ``patient-of-the-…rth-0017``.

    Of a client of several owners the first one's name is cut: ``patient…0017 and 4 more``. Control
    characters, which would command a terminal, are written out.
    """
    name = visible(name)
    if len(name) <= LONGEST:
        return name
    several = MORE.search(name)
    more = several.group() if several else ""
    room = LONGEST - len(more)
    end = room // 3
    first = name.removesuffix(more)
    return f"{first[: room - end - 1]}…{first[-end:]}{more}"
