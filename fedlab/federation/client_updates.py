"""Clients' replies, decoded.

Where a method needs no more than means over all clients of a round, a grid may add the updates up
where they are made. The replies are then all there, with everything but the values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedlab.federation.weighted_sum import WeightedSum
from fedlab.records import Tensors, array_records, from_record

SUM = "sum"
"""Name of the record by which a message to train says that a weighted sum will do."""

_CLIENT = re.compile(r"\bclient \d+")

NOT_ALONE = (
    "a client's update was asked for and only the sum over the clients is there; a strategy that "
    "looks at single updates has to say `linear = False`"
)


class SummedArray(Array):
    """An array of an update that only exists in a sum with those of other clients."""

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.stype = "numpy.ndarray"

    @property
    def data(self) -> NoReturn:  # type: ignore[override]
        """There are no bytes of this client alone."""
        raise ValueError(NOT_ALONE)

    def numpy(self) -> NoReturn:
        """There are no values of this client alone."""
        raise ValueError(NOT_ALONE)


class SummedRecord(ArrayRecord):
    """What stands in every client's reply for values that only exist as a sum.

    Args:
        total: The sum.
        record: Which of its records this is.
    """

    total: WeightedSum

    def __init__(self, total: WeightedSum, record: str) -> None:
        super().__init__()
        self.total = total
        for name, tensor in total.form()[record].items():
            dtype = str(total.dtypes[record][name]).removeprefix("torch.")
            self[name] = SummedArray(dtype, tuple(tensor.shape))


def stand_for(total: WeightedSum, replies: Iterable[Message]) -> None:
    """Puts a sum into the replies of the clients whose updates are in it."""
    records = {record: SummedRecord(total, record) for record in total.arrays}
    for reply in replies:
        for name, record in records.items():
            reply.content[name] = record


class Arrays(Mapping[str, Tensors]):
    """The array records of a reply, decoded when they are looked at.

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
        total: The sum over all clients of the round, where there is only that.
    """

    client: int
    arrays: Mapping[str, Tensors]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    total: WeightedSum | None = None

    @property
    def examples(self) -> float:
        """Number of samples behind the update."""
        return float(self.metrics["num-examples"])


def weight_of(metrics: Mapping[str, Any], weighting: str) -> float:
    """What a client counts in a mean: its ``examples``, or one (``uniform``)."""
    return float(metrics["num-examples"]) if weighting == "examples" else 1.0


def sum_record(weighting: str, kept: Collection[str]) -> ConfigRecord:
    """What says, in a message to train, that a weighted sum will do.

    Args:
        weighting: What a client counts by.
        kept: Names of tensors of which one client's is kept, instead of a sum.
    """
    names = {"kept": sorted(kept)} if kept else {}
    return ConfigRecord({"weights": weighting, **names})  # type: ignore[arg-type]


def empty_sum(content: RecordDict) -> WeightedSum:
    """A sum of nothing yet, of the kind that a message to train asks for."""
    asked = content.get(SUM, {})
    return WeightedSum(asked.get("kept", ()))  # type: ignore[union-attr]


def weigher(message: Message) -> Callable[[Mapping[str, Any]], float]:
    """What a client counts, by its metrics, in the sum that a message to train asks for."""
    return partial(weight_of, weighting=str(message.content[SUM]["weights"]))


def client_of(reply: Message) -> int:
    """The index of the client that answered; its node id where there is no such index."""
    client = reply.content.get("client") if reply.has_content() else None
    return int(client["id"]) if client else reply.metadata.src_node_id  # type: ignore[arg-type]


def reason(reply: Message) -> str:
    """Why a client failed."""
    return reply.error.reason or f"error {reply.error.code}"


def told_once(reasons: Sequence[str], most: int) -> str:
    """Why clients failed; of reasons that only differ in the client, the first.

    Args:
        reasons: From `reason`.
        most: Reasons to tell; the other clients are counted.
    """
    first: dict[str, str] = {}
    for each in reasons:
        first.setdefault(_CLIENT.sub("", each), each)
    told = list(first.values())[:most]
    more = len(reasons) - len(told)
    return "; ".join(told) + f"; and {more} more" * (more > 0)


def decode(replies: Iterable[Message]) -> list[ClientUpdate]:
    """Replies that carry content, in the order of client indices."""
    updates = [_update_of(reply) for reply in replies if reply.has_content()]
    return sorted(updates, key=lambda update: update.client)


def _update_of(reply: Message) -> ClientUpdate:
    content = reply.content
    records = array_records(content)
    totals = [record.total for record in records.values() if isinstance(record, SummedRecord)]
    return ClientUpdate(
        client=client_of(reply),
        arrays=Arrays(records),
        metrics=dict(content["metrics"]),  # type: ignore[arg-type]
        total=totals[0] if totals else None,
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
