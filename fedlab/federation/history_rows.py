"""Messages -> rows of the history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, Message

from fedlab.federation.client_updates import client_of
from fedlab.federation.evaluation_reply import COUNTS
from fedlab.records import record_bytes
from fedlab.row import GLOBAL, Row
from fedlab.virtual_time.round_plan import RoundPlan


def training_rows(server_round: int, replies: Iterable[Message]) -> list[Row]:
    """One row per client and metric of its local training, in the order of the replies."""
    rows: list[Row] = []
    for reply in filter(Message.has_content, replies):
        metrics: dict[str, Any] = dict(reply.content["metrics"].items())
        client, examples = client_of(reply), int(metrics["num-examples"])
        rows += [
            Row(server_round, client, "", "train", metric, float(value), examples)
            for metric, value in metrics.items()
            if metric != "num-examples" and isinstance(value, int | float)
        ]
    return rows


def round_rows(server_round: int, numbers: Mapping[str, float]) -> list[Row]:
    """Rows of a round's own values, by metric."""
    return [
        Row(server_round, GLOBAL, "", "round", metric, float(value), 0)
        for metric, value in numbers.items()
    ]


class Traffic:
    """Bytes of array values that went down to and came up from the clients in a round.

    Metric counts are excluded, so that the numbers do not depend on the chosen metrics.
    """

    def __init__(self) -> None:
        self.down = 0
        self.up = 0

    def add(
        self, sent: Iterable[Message], replies: Iterable[Message], plan: RoundPlan | None = None
    ) -> None:
        """Counts one exchange of messages, and what a virtual clock adds to it."""
        sent, replies = list(sent), list(replies)
        sizes: dict[int, int] = {}  # clients mostly share records: each is measured once
        self.down += sum(_bytes(message, sizes) for message in sent)
        self.up += sum(_bytes(reply, sizes) for reply in replies if reply.has_content())
        if plan is not None:
            self.down += plan.down
            self.up += plan.up

    @property
    def bytes(self) -> dict[str, float]:
        """Bytes in each direction, by metric."""
        return {"bytes_down": self.down, "bytes_up": self.up}

    def rows(self, server_round: int, clients: int, failed: int) -> list[Row]:
        """The numbers of the round as a whole."""
        return round_rows(server_round, {**self.bytes, "clients": clients, "failed": failed})


def _bytes(message: Message, sizes: dict[int, int]) -> int:
    """Bytes of a message's arrays; `sizes` caches those of records by their ids."""
    total = 0
    for name, record in message.content.items():
        if isinstance(record, ArrayRecord) and name != COUNTS:
            if id(record) not in sizes:
                sizes[id(record)] = record_bytes(record)
            total += sizes[id(record)]
    return total
