"""Weighted sums of clients' updates in the processes that train (pre-aggregation).

Most methods need only weighted means over a round's clients. Sending every update to the server
moves one model per client; summing in the training processes moves one model per process. The
steps, in the order of this file:

1. The strategy puts a `request` into the training message: how clients are weighted.
2. A worker that answers the message makes a `Preaggregation` from it. Each update is added to it,
   weight times tensor in float64, instead of to a reply.
3. Every client of the round has a slot, and `PairwiseSum` merges neighbouring slots. Sums therefore
   do not depend on the number of processes or on the order in which clients finish.
4. The grid puts the sum of all slots into the replies (`attach`): every reply then has a
   `PreaggregatedRecord`, which has the names and shapes of an update and the sum of all of them.
5. `Strategy.weighted_mean` divides it by the sum of the weights.

An example: five clients with updates u0 to u4, in slots 0 to 4, and two processes. One trains the
clients 0, 1 and 4, the other 2 and 3::

    first process     slots 0-1: u0 + u1     slot 4: u4
    second process    slots 2-3: u2 + u3
    at the grid       slots 0-3: (u0 + u1) + (u2 + u3)
    sum of all        ((u0 + u1) + (u2 + u3)) + u4

The brackets depend only on the slots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedlab.federation.weighted_sum import WeightedSum
from fedlab.flower_compat import with_values

REQUEST = "sum"
"""Name of the record with which a training message requests a weighted sum of updates."""

ONLY_THE_SUM = (
    "a client's update was asked for and only the sum over the clients is there; a strategy that "
    "looks at single updates has to say `needs_only_mean = False`"
)


# ---------------------------------------------------------------------- 1. the request


def request(weighting: str, kept: Collection[str]) -> ConfigRecord:
    """The record with which a training message requests a weighted sum of updates.

    Args:
        weighting: How clients are weighted: ``examples`` or ``uniform``.
        kept: Names of tensors that are not summed; one client's is kept.
    """
    names = {"kept": sorted(kept)} if kept else {}
    return ConfigRecord({"weights": weighting, **names})  # type: ignore[arg-type]


def client_weight(metrics: Mapping[str, Any], weighting: str) -> float:
    """A client's weight in a mean: its number of ``examples``, or 1 (``uniform``)."""
    return float(metrics["num-examples"]) if weighting == "examples" else 1.0


# ---------------------------------------------------------------------- 2. where clients train


class Preaggregation:
    """The sum of the updates of clients that train in one process, in sequence or as one.

    Args:
        weighting: How clients are weighted.
        kept: Names of tensors that are not summed; one client's is kept.

    Attributes:
        total: The sum over the clients so far.
    """

    def __init__(self, weighting: str, kept: Iterable[str] = ()) -> None:
        self.weighting = weighting
        self.total = WeightedSum(kept)

    @classmethod
    def requested(cls, content: RecordDict) -> Preaggregation:
        """An empty sum as described by a training message's `request`."""
        asked: Any = content[REQUEST]
        return cls(str(asked["weights"]), asked.get("kept", ()))

    def weights(self, metrics: Iterable[Mapping[str, Any]]) -> list[float]:
        """The clients' weights, from their metrics."""
        return [client_weight(each, self.weighting) for each in metrics]

    def add(
        self,
        updates: Sequence[Mapping[str, Mapping[str, Any]]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Adds updates to the sum.

        Args:
            updates: Each client's tensors by record and name.
            metrics: Each client's metrics.
        """
        self.total.add(updates, self.weights(metrics))

    def merge(self, total: WeightedSum) -> None:
        """Adds the sum over clients that trained as one; its memory may be reused."""
        self.total = merged(self.total if self.total.clients else None, total) or self.total


# ---------------------------------------------------------------------- 3. slots


class Slots(NamedTuple):
    """The slots of clients' updates in a `PairwiseSum`.

    Attributes:
        first: Slot of the first client.
        number: Number of slots of all of them together, if they train as one.
    """

    first: int
    number: int


class PairwiseSum:
    """A sum over the slots 0, 1, ..., merged in pairs as they arrive.

    A run covers ``count`` slots, a power of two, and begins at a multiple of it. Two neighbouring
    runs are merged at once into one of twice the length. The first slot of a run's neighbour is
    ``first ^ count``.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[int, int], WeightedSum | None] = {}
        """(first slot, count) -> the sum, or None if no client in it gave an update."""

    def add(self, first: int, count: int, total: WeightedSum | None) -> None:
        """Adds a run.

        Args:
            first: Its first slot, a multiple of `count`.
            count: Number of slots that it covers, a power of two.
            total: The sum over it, which may be written to; None if it is empty.
        """
        while (first ^ count, count) in self.runs:
            neighbour = self.runs.pop((first ^ count, count))
            pair = (neighbour, total) if first & count else (total, neighbour)
            total = merged(*pair)
            first &= ~count
            count *= 2
        self.runs[first, count] = total

    def merge(self, other: PairwiseSum) -> None:
        """Adds the runs of another process."""
        for (first, count), total in other.runs.items():
            self.add(first, count, total)

    def total(self) -> WeightedSum | None:
        """The sum of all runs in the order of slots; may be called once, as memory is reused."""
        total = None
        for _, run in sorted(self.runs.items(), key=lambda item: item[0]):
            total = merged(total, run)
        if total is not None:
            total.form()
        return total


def merged(first: WeightedSum | None, second: WeightedSum | None) -> WeightedSum | None:
    """The sum of both, either of which may be empty; the first one's memory may be reused."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


# ---------------------------------------------------------------------- 4. replies


class PreaggregatedArray(Array):
    """Dtype and shape of an update's array whose values exist only in the sum over clients."""

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.stype = "numpy.ndarray"

    @property
    def data(self) -> NoReturn:  # type: ignore[override]
        """Raises ValueError: there are no bytes of this client alone."""
        raise ValueError(ONLY_THE_SUM)

    def numpy(self) -> NoReturn:
        """Raises ValueError: there are no values of this client alone."""
        raise ValueError(ONLY_THE_SUM)


class PreaggregatedRecord(ArrayRecord):
    """The record in a client's reply for values that exist only as a sum over clients.

    Args:
        total: The sum.
        record: The record's name in the sum.
    """

    total: WeightedSum

    def __init__(self, total: WeightedSum, record: str) -> None:
        super().__init__()
        self.total = total
        for name, tensor in total.form()[record].items():
            dtype = str(total.dtypes[record][name]).removeprefix("torch.")
            self[name] = PreaggregatedArray(dtype, tuple(tensor.shape))


def attach(total: WeightedSum, replies: Iterable[Message]) -> None:
    """Puts a sum into the replies of the clients whose updates are in it."""
    records = {record: PreaggregatedRecord(total, record) for record in total.arrays}
    for reply in replies:
        with_values(reply.content, records)
