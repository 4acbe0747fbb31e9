"""From clients' updates to one mean, added up where the updates are made.

Most methods need no more of a round than weighted means over its clients. Shipping every update to
the server and adding there costs a model a client; adding up where clients train costs a model a
process. This file is the way from one to the other, in the order in which it happens:

1. The strategy puts a `request` into the message to train: what a client counts by.
2. A worker that answers the message makes a `Preaggregation` of it and hands it to whoever trains.
   Instead of into a reply, each update goes into that: weight times tensor, in float64.
3. Every client of the round has a slot, and `PairwiseSum` merges neighbouring slots. Sums therefore
   do not depend on how many processes there are or on who is ready first.
4. The grid puts the sum of all slots into the replies (`attach`): every reply then has a
   `PreaggregatedRecord`, which has the names and shapes of an update and the sum of all of them.
5. `Strategy.mean` divides it by the sum of the weights.

An example: five clients with updates u0 to u4, in slots 0 to 4, and two processes. One trains the
clients 0, 1 and 4, the other 2 and 3::

    first process     slots 0-1: u0 + u1     slot 4: u4
    second process    slots 2-3: u2 + u3
    at the grid       slots 0-3: (u0 + u1) + (u2 + u3)
    sum of all        ((u0 + u1) + (u2 + u3)) + u4

Whoever trains whom, the brackets stand where they stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedlab.federation.weighted_sum import WeightedSum

REQUEST = "sum"
"""Name of the record by which a message to train says that a weighted sum will do."""

ONLY_THE_SUM = (
    "a client's update was asked for and only the sum over the clients is there; a strategy that "
    "looks at single updates has to say `linear = False`"
)


# ---------------------------------------------------------------------- 1. the request


def request(weighting: str, kept: Collection[str]) -> ConfigRecord:
    """What says, in a message to train, that a weighted sum will do.

    Args:
        weighting: What a client counts by: ``examples`` or ``uniform``.
        kept: Names of tensors of which one client's is kept, instead of a sum.
    """
    names = {"kept": sorted(kept)} if kept else {}
    return ConfigRecord({"weights": weighting, **names})  # type: ignore[arg-type]


def client_weight(metrics: Mapping[str, Any], weighting: str) -> float:
    """What a client counts in a mean: its ``examples``, or one (``uniform``)."""
    return float(metrics["num-examples"]) if weighting == "examples" else 1.0


# ---------------------------------------------------------------------- 2. where clients train


class Preaggregation:
    """Takes in the updates of clients that train in one process, one after the other or as one.

    Args:
        weighting: What a client counts by.
        kept: Names of tensors of which one client's is kept.

    Attributes:
        total: The sum over the clients so far.
    """

    def __init__(self, weighting: str, kept: Iterable[str] = ()) -> None:
        self.weighting = weighting
        self.total = WeightedSum(kept)

    @classmethod
    def requested(cls, content: RecordDict) -> Preaggregation:
        """What a message to train asks for; it has to have a `request`."""
        asked: Any = content[REQUEST]
        return cls(str(asked["weights"]), asked.get("kept", ()))

    def weights(self, metrics: Iterable[Mapping[str, Any]]) -> list[float]:
        """What clients count, by their metrics."""
        return [client_weight(each, self.weighting) for each in metrics]

    def add(
        self,
        updates: Sequence[Mapping[str, Mapping[str, Any]]],
        metrics: Sequence[Mapping[str, Any]],
    ) -> None:
        """Takes in updates.

        Args:
            updates: The tensors of each by record and name.
            metrics: The metrics of each.
        """
        self.total.add(updates, self.weights(metrics))

    def merge(self, total: WeightedSum) -> None:
        """Takes in a sum over clients that trained as one, whose memory may be used for it."""
        self.total = merged(self.total if self.total.clients else None, total) or self.total


# ---------------------------------------------------------------------- 3. slots


class Slots(NamedTuple):
    """Where clients' updates belong in a `PairwiseSum`.

    Attributes:
        first: Slot of the first client.
        number: Slots of all of them together, if they train as one.
    """

    first: int
    number: int


class PairwiseSum:
    """A sum over the slots 0, 1, ..., merged in pairs as these come in.

    A run covers as many slots as a power of two, beginning at a multiple of it. Two runs that make
    up a longer one are merged at once. The slot that begins a run's neighbour differs from its own
    in one bit, the one of the run's length: ``first ^ count``.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[int, int], WeightedSum | None] = {}
        """(first slot, slots) -> the sum, or None if nobody there gave an update."""

    def add(self, first: int, count: int, total: WeightedSum | None) -> None:
        """Takes in a run.

        Args:
            first: Its first slot, a multiple of `count`.
            count: How many slots it covers, a power of two.
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
        """Takes in runs that were merged elsewhere."""
        for (first, count), total in other.runs.items():
            self.add(first, count, total)

    def total(self) -> WeightedSum | None:
        """The sum of all runs, added in the order of slots; to be taken once."""
        total = None
        for _, run in sorted(self.runs.items(), key=lambda item: item[0]):
            total = merged(total, run)
        if total is not None:
            total.form()
        return total


def merged(first: WeightedSum | None, second: WeightedSum | None) -> WeightedSum | None:
    """The sum of two, either of which may be empty; the first one's memory may be used for it."""
    if first is None or second is None:
        return first or second
    return first.merge(second)


# ---------------------------------------------------------------------- 4. replies


class PreaggregatedArray(Array):
    """An array of an update that only exists in a sum with those of other clients."""

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.stype = "numpy.ndarray"

    @property
    def data(self) -> NoReturn:  # type: ignore[override]
        """There are no bytes of this client alone."""
        raise ValueError(ONLY_THE_SUM)

    def numpy(self) -> NoReturn:
        """There are no values of this client alone."""
        raise ValueError(ONLY_THE_SUM)


class PreaggregatedRecord(ArrayRecord):
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
            self[name] = PreaggregatedArray(dtype, tuple(tensor.shape))


def attach(total: WeightedSum, replies: Iterable[Message]) -> None:
    """Puts a sum into the replies of the clients whose updates are in it."""
    records = {record: PreaggregatedRecord(total, record) for record in total.arrays}
    for reply in replies:
        for name, record in records.items():
            reply.content[name] = record
