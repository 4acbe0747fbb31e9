"""Clients' replies, decoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, MetricRecord

from fedlab.records import Tensors, arrays_of


@dataclass(frozen=True)
class ClientUpdate:
    """One client's reply.

    Attributes:
        client: The client's index.
        arrays: What it sent, by record name.
        metrics: Its metrics, among them ``num-examples``.
    """

    client: int
    arrays: Mapping[str, Tensors]
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def examples(self) -> float:
        """Number of samples behind the update."""
        return float(self.metrics["num-examples"])


def client_of(reply: Message) -> int:
    """The index of the client that answered; its node id where there is no such index."""
    client = reply.content.config_records.get("client") if reply.has_content() else None
    return int(client["id"]) if client else reply.metadata.src_node_id  # type: ignore[arg-type]


def reason(reply: Message) -> str:
    """Why a client failed."""
    return reply.error.reason or f"error {reply.error.code}"


def decode(replies: Iterable[Message]) -> list[ClientUpdate]:
    """Replies that carry content, in the order of client indices."""
    updates = [
        ClientUpdate(
            client=client_of(reply),
            arrays=arrays_of(reply.content),
            metrics=dict(reply.content["metrics"]),  # type: ignore[arg-type]
        )
        for reply in replies
        if reply.has_content()
    ]
    return sorted(updates, key=lambda update: update.client)


def mean_metrics(updates: Sequence[ClientUpdate]) -> MetricRecord:
    """The examples-weighted mean of every scalar metric, with the sum of examples."""
    total = sum(update.examples for update in updates)
    keys = [key for key in updates[0].metrics if key != "num-examples"]
    means = {
        key: sum(u.metrics[key] * u.examples for u in updates) / max(total, 1.0) for key in keys
    }
    return MetricRecord({**means, "num-examples": total})
