"""A round on a virtual clock: the replies in time, and the round's duration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Message

from fedlab.row import GLOBAL, Row

DEVICE = "device"
"""The split of rows about a client's virtual round."""


@dataclass(frozen=True)
class RoundPlan:
    """A round on the virtual clock, known before clients train.

    Attributes:
        accepted: Messages whose replies count; the others need no answer.
        asked: How many clients were asked in this round.
        replies: Client -> virtual seconds until its reply, for those that reply at all.
        late: Clients whose reply comes too late; in asynchronous methods, one may be late twice.
        dropped: Clients that never reply, likewise.
        unavailable: Clients that could not be asked when the round began.
        seconds: Virtual seconds that the round takes.
        down: Bytes that go down besides those of the accepted messages.
        up: Bytes that come up besides those of the replies that count.
        staleness: Client -> server steps since the model that it trained from, in asynchronous
            methods.
    """

    accepted: Sequence[Message]
    asked: int
    replies: Mapping[int, float]
    late: Sequence[int]
    dropped: Sequence[int]
    unavailable: int
    seconds: float
    down: int
    up: int
    staleness: Mapping[int, int] = field(default_factory=dict[int, int])

    def rows(self, server_round: int) -> list[Row]:
        """The round's rows of the history, for the whole round and for each client."""
        whole = {
            "virtual_seconds": self.seconds,
            "late": len(self.late),
            "dropped": len(self.dropped),
            "unavailable": self.unavailable,
        }
        clients = [
            *(("virtual_seconds", client, value) for client, value in self.replies.items()),
            *(("staleness", client, value) for client, value in self.staleness.items()),
            *(("late", client, times) for client, times in Counter(self.late).items()),
            *(("dropped", client, times) for client, times in Counter(self.dropped).items()),
        ]
        return [
            *(Row(server_round, c, "", DEVICE, metric, float(v), 0) for metric, c, v in clients),
            *(Row(server_round, GLOBAL, "", "round", m, float(v), 0) for m, v in whole.items()),
        ]


@dataclass(frozen=True)
class RoundOutcome:
    """The replies that are in time, by place.

    Attributes:
        accepted: Bool of shape (n,).
        late: Bool of shape (n,).
        seconds: Until the round ends.
    """

    accepted: np.ndarray
    late: np.ndarray
    seconds: float


def first_replies(
    due: np.ndarray, dropped: np.ndarray, goal: int, deadline: float | None
) -> RoundOutcome:
    """Takes the first replies until there are enough, or until the deadline.

    A round ends with the last reply that it takes. If there are too few, it ends at the deadline;
    without one, when the last missing reply would have been due, for then the server knows.

    Args:
        due: Seconds from the beginning to each client's reply, shape (n,). Of equal ones the
            first is taken first.
        dropped: Who never replies, bool of shape (n,).
        goal: Replies that are enough, at most n.
        deadline: Seconds to wait, at most; None is forever.
    """
    limit = math.inf if deadline is None else deadline
    in_time = np.flatnonzero(~dropped & (due <= limit))
    first = in_time[np.argsort(due[in_time], kind="stable")][:goal]
    accepted = np.zeros(len(due), dtype=bool)
    accepted[first] = True
    waited_for = accepted if len(first) == goal else np.ones(len(due), dtype=bool)
    last = float(due[waited_for].max(initial=0.0))
    seconds = last if len(first) == goal or deadline is None else deadline
    return RoundOutcome(accepted, ~dropped & ~accepted, seconds)
