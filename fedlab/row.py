"""What a run measures: rows of one number each."""

from __future__ import annotations

from dataclasses import dataclass

GLOBAL = -1
"""The `client` of a row that is about the global model and not about one client."""


@dataclass(frozen=True)
class Row:
    """One number of the history.

    Attributes:
        round: Round, from 1; 0 is before training.
        client: Client index, or `GLOBAL`.
        domain: Name of the domain that was measured; empty where domains do not matter.
        split: ``train``, ``test``, ``round`` (numbers of the round as a whole) or ``device`` (a
            client's round on the virtual clock).
        metric: ``loss``, ``accuracy``, ``bytes_up``, ``bytes_down``, ``steps``, ``failed``,
            ``virtual_seconds``, ``late``, ``dropped`` ...
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
