"""Clients' replies, decoded.

If a method needs only means over all clients of a round, the processes that train add up updates
(`fedlab.federation.preaggregation`). Each reply then has all of its content except tensor values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord

from fedlab.federation.preaggregation import PreaggregatedRecord
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.records import Tensors, array_records, from_record

_CLIENT = re.compile(r"\bclient \d+")


class Arrays(Mapping[str, Tensors]):
    """The array records of a reply, decoded on first access.

    Args:
        records: The records by name.
    """

    def __init__(self, records: Mapping[str, ArrayRecord]) -> None:
        self._records = records
        self._decoded: dict[str, Tensors] = {}

    def __getitem__(self, name: str) -> Tensors:
        if name not in self._decoded:
            self._decoded[name] = from_record(self._records[name])
        return self._decoded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


@dataclass(frozen=True)
class ClientUpdate:
    """One client's reply.

    Attributes:
        client: The client's index.
        arrays: What it sent, by record name.
        metrics: Its metrics, among them ``num-examples``.
        total: The sum over all clients of the round, if the single updates are not available.
    """

    client: int
    arrays: Mapping[str, Tensors]
    metrics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    total: WeightedSum | None = None

    @property
    def examples(self) -> float:
        """Number of samples behind the update."""
        return float(self.metrics["num-examples"])


def client_of(reply: Message) -> int:
    """The index of the client that answered; its node id where there is no such index."""
    client = reply.content.get("client") if reply.has_content() else None
    return int(client["id"]) if client else reply.metadata.src_node_id  # type: ignore[arg-type]


def reason(reply: Message) -> str:
    """Why a client failed."""
    return reply.error.reason or f"error {reply.error.code}"


def unique_errors(reasons: Sequence[str], most: int) -> str:
    """The distinct reasons of failed clients; of those that only differ in the client, the first.

    Args:
        reasons: From `reason`.
        most: Largest number of reasons in the text; the others are counted.
    """
    first: dict[str, str] = {}
    for each in reasons:
        first.setdefault(_CLIENT.sub("", each), each)
    shown = list(first.values())[:most]
    more = len(reasons) - len(shown)
    return "; ".join(shown) + f"; and {more} more" * (more > 0)


def decode(replies: Iterable[Message]) -> list[ClientUpdate]:
    """Replies that carry content, in the order of client indices."""
    updates = [_update_of(reply) for reply in replies if reply.has_content()]
    return sorted(updates, key=lambda update: update.client)


def _update_of(reply: Message) -> ClientUpdate:
    content = reply.content
    records = array_records(content)
    summed = [each for each in records.values() if isinstance(each, PreaggregatedRecord)]
    return ClientUpdate(
        client=client_of(reply),
        arrays=Arrays(records),
        metrics=dict(content["metrics"].items()),
        total=summed[0].total if summed else None,
    )


def mean_metrics(updates: Sequence[ClientUpdate]) -> MetricRecord:
    """The examples-weighted mean of every scalar metric, with the sum of examples.

    A client without a metric (one that had nothing to train on) does not count in its mean.
    """
    total = sum(update.examples for update in updates)
    keys = dict.fromkeys(key for update in updates for key in update.metrics)
    means: dict[str, float] = {}
    for key in keys:
        having = [update for update in updates if key in update.metrics]
        weight = sum(update.examples for update in having)
        value = sum(update.metrics[key] * update.examples for update in having)
        means[key] = value / max(weight, 1.0)
    return MetricRecord({**means, "num-examples": total})
