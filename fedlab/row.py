"""The rows of a run's history: one number each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Split = Literal["test", "validation", "held_out", "adapted"]
"""What a test is of: test or validation samples of clients that may train, or test samples of
held-out clients (never trained), with the model as sent down or after a few local steps."""

GLOBAL = -1
"""The `client` of a row that is about the global model and not about one client."""


POOLED = -2
"""The `client` of a row about the samples of all clients together, each with its own model.

Such rows are there where they do not follow from those of the clients: of metrics that are no mean
over samples.
"""


class Row(NamedTuple):
    """One number of the history: a tuple, as a round has some for each of its clients.

    Attributes:
        round: Round, from 1; 0 is before training.
        client: Client index, `GLOBAL` or `POOLED`.
        domain: Name of the domain that was measured; empty where domains do not matter, or where
            the number is about samples of several.
        split: ``train``, ``validation``, ``test``, ``held_out`` and ``adapted`` (clients that are
            never trained, before and after adaptation), ``round`` (numbers of the round as a
            whole) or ``device`` (a client's round on the virtual clock).
        metric: Any of ``evaluation.metrics``, ``loss``, ``bytes_up``, ``bytes_down``, ``steps``,
            ``failed``, ``virtual_seconds``, ``late``, ``dropped`` ...
        value: The number.
        examples: Samples behind it (0 where it is not about samples).
    """

    round: int
    client: int
    domain: str
    split: str
    metric: str
    value: float
    examples: int


@dataclass(frozen=True)
class CountRow:
    """One number of a metric's counts that the history keeps.

    Attributes:
        round: Round, from 1.
        client: `POOLED`, or `GLOBAL` for a domain that no client has.
        domain: Name of the domain; empty for all clients' samples.
        split: ``test`` or ``validation``.
        metric: The metric's title.
        count: Which of its counts, e.g. ``matrix``.
        place: The place in it: label and prediction, or the bin.
        value: The number; zeros are left out, except in the last place.
    """

    round: int
    client: int
    domain: str
    split: str
    metric: str
    count: str
    place: tuple[int, ...]
    value: float
