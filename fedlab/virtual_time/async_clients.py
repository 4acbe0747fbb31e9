"""Asynchronous clients: when each one starts, and whose update arrives next.

A client that is asked has a trip: it receives the model, trains, and sends its update. Where it
ends is known when it begins, so trips are events on the virtual clock; the training itself is done
when an update arrives, and is skipped for updates that never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from fedlab import rng
from fedlab.records import Tensors
from fedlab.virtual_time.clock import VirtualClock


class End(IntEnum):
    """The ways in which a trip ends."""

    ARRIVED = 0
    LATE = 1
    DROPPED = 2


class InFlightUpdate(NamedTuple):
    """The trip of one client: its download, training and upload.

    Attributes:
        due: Virtual time at which it ends; trips that end at the same time do so in the order of
            their clients.
        client: The client's index.
        version: Server steps that had been made when it began.
        began: Virtual time at which it began.
        end: How it ends.
    """

    due: float
    client: int
    version: int
    began: float
    end: End


MOMENTS = ("due", "began")
NUMBERS = ("client", "version", "end")
"""Which fields of a trip are virtual times, and which are whole numbers."""


@dataclass(frozen=True)
class BufferResult:
    """The trips that ended until enough updates had arrived.

    Attributes:
        arrived: Trips whose updates are in the buffer.
        lost: Trips that ended without one.
        started: How many began.
        unavailable: Clients that could not be asked at first.
        seconds: Virtual seconds since the buffer was full before.
    """

    arrived: Sequence[InFlightUpdate]
    lost: Sequence[InFlightUpdate]
    started: int
    unavailable: int
    seconds: float


class AsyncClients:
    """The clients that are training.

    A client takes part in a server step once at most: it is not asked again while its update waits
    in the buffer. It could only repeat what it has just done, or train twice from models that
    hardly differ; and where the buffer holds all clients, what is left is a synchronous round.

    Args:
        clock: Virtual time.
        concurrency: How many clients are at work at the same time, at most.
        seconds: Virtual seconds of each client's trip, shape (clients,).
    """

    def __init__(self, clock: VirtualClock, concurrency: int, seconds: np.ndarray) -> None:
        self.clock = clock
        self.concurrency = concurrency
        self.seconds = seconds
        self.trips: list[InFlightUpdate] = []
        self.started = 0
        """Trips that have ever begun; each has its own random numbers, keyed on this number."""

    def until(self, enough: int, version: int) -> BufferResult:
        """Lets virtual time pass until so many updates have arrived.

        Trips that end at the same moment all end before a client starts, so that equally fast
        clients do not start from the model that they are about to change.

        Args:
            enough: Updates to wait for.
            version: Server steps made so far: the version of the model that clients start from.

        Raises:
            ValueError: If fewer clients can ever deliver one.
        """
        limit = self.clock.fleet.spec.deadline
        able = len(self.seconds) if limit is None else int((self.seconds <= limit).sum())
        if able < enough:
            raise ValueError(f"{enough} updates are needed and {able} clients can deliver one")
        arrived: list[InFlightUpdate] = []
        lost: list[InFlightUpdate] = []
        before = self.started
        unavailable = int((~self.clock.fleet.available(self.clock.now)).sum())
        while len(arrived) < enough:
            self.clock.now = self._start(version, arrived)
            for trip in sorted(trip for trip in self.trips if trip.due == self.clock.now):
                if len(arrived) == enough:
                    break
                self.trips.remove(trip)
                (arrived if trip.end is End.ARRIVED else lost).append(trip)
        seconds, self.clock.ended = self.clock.now - self.clock.ended, self.clock.now
        return BufferResult(arrived, lost, self.started - before, unavailable, seconds)

    def _start(self, version: int, buffered: Sequence[InFlightUpdate]) -> float:
        """Starts as many clients as allowed; returns the time of the next event."""
        fleet, now = self.clock.fleet, self.clock.now
        free = np.ones(len(fleet), dtype=bool)
        free[[trip.client for trip in [*self.trips, *buffered]]] = False
        candidates = np.flatnonzero(free & fleet.available(now))
        while len(candidates) and len(self.trips) < self.concurrency:
            generator = rng.generator(fleet.seed, "start", self.started)
            place = int(generator.integers(len(candidates)))
            client = int(candidates[place])
            candidates = np.delete(candidates, place)
            free[client] = False
            self.trips.append(self._trip(client, version, drops=generator.random()))
            self.started += 1
        ends = [trip.due for trip in self.trips]
        if len(self.trips) < self.concurrency and free.any():
            ends.append(fleet.next_period(now))  # a client may be available then
        return min(ends)

    def _trip(self, client: int, version: int, drops: float) -> InFlightUpdate:
        spec, now = self.clock.fleet.spec, self.clock.now
        seconds, end = float(self.seconds[client]), End.ARRIVED
        if drops < spec.dropout:
            end = End.DROPPED
        elif spec.deadline is not None and seconds > spec.deadline:
            end = End.LATE
        if spec.deadline is not None:
            seconds = min(seconds, spec.deadline)
        return InFlightUpdate(now + seconds, client, version, now, end)

    def state(self) -> Tensors:
        """The state for a checkpoint."""
        moments = {name: [getattr(trip, name) for trip in self.trips] for name in MOMENTS}
        numbers = {name: [int(getattr(trip, name)) for trip in self.trips] for name in NUMBERS}
        return {
            **{name: torch.tensor(v, dtype=torch.float64) for name, v in moments.items()},
            **{name: torch.tensor(v, dtype=torch.int64) for name, v in numbers.items()},
            "started": torch.tensor(self.started),
        }

    def resume(self, state: Tensors) -> None:
        """Restores a checkpoint's state."""
        columns: dict[str, list[Any]] = {
            name: cast(Any, state[name]).tolist() for name in InFlightUpdate._fields
        }
        self.trips = [
            InFlightUpdate(due, client, version, began, End(end))
            for due, client, version, began, end in zip(*columns.values(), strict=True)
        ]
        self.started = int(state["started"])
