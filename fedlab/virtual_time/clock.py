"""A virtual clock: a round's time is computed from devices, samples and bytes, without waiting.

Virtual time passes while clients receive, train and send. Tests cost none, for they are the
experimenter's and not the method's; nor does the server's own work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from flwr.app import Message
from flwr.serverapp import Grid

from fedlab.records import Tensors, payload_bytes
from fedlab.virtual_time.device_population import DevicePopulation
from fedlab.virtual_time.round_plan import RoundPlan, first_replies

CLOCK = "clock"
"""Name of the record of a strategy's state that keeps the time."""


class VirtualClock:
    """The virtual time of a run, and the clients available at it.

    Args:
        fleet: The clients' devices; client k is the k-th of the sorted node ids.
    """

    def __init__(self, fleet: DevicePopulation) -> None:
        self.fleet = fleet
        self.now = 0.0
        """Virtual seconds since the run began."""
        self.ended = 0.0
        """When the last round ended."""
        self.goal = 0
        """Replies that the current round waits for."""
        self.unavailable = 0
        """Clients that could not be asked when the current round began."""

    def invite(self, nodes: Sequence[int], goal: int) -> tuple[list[int], int]:
        """Begins a synchronous round, as soon as a client is available.

        Args:
            nodes: All nodes, sorted.
            goal: Replies that the round waits for.

        Returns:
            The nodes that are available, and how many of them to ask.
        """
        available = self.fleet.available(self.now)
        self.unavailable = int((~available).sum())
        while not available.any():
            self.now = self.fleet.next_period(self.now)
            available = self.fleet.available(self.now)
        candidates = [nodes[index] for index in np.flatnonzero(available).tolist()]
        # Not one more because 1.1 * 10 is 11.000000000000002 in floating point.
        asked = math.ceil(self.fleet.spec.over_selection * goal - 1e-9)
        self.goal = goal
        return candidates, min(asked, len(candidates))

    def plan(
        self,
        server_round: int,
        messages: Sequence[Message],
        grid: Grid,
        upload: Callable[[int], int],
    ) -> RoundPlan:
        """The outcome of a synchronous round's messages; advances the clock to its end.

        Args:
            server_round: The round.
            messages: One message for each client of the cohort.
            grid: Knows all nodes.
            upload: Bytes that come up from a client to which so many went down.
        """
        spec = self.fleet.spec
        clients = _clients(messages, grid)
        down = message_bytes(messages)
        up = np.array([upload(int(size)) for size in down])
        due = self.fleet.seconds(down, up, clients)
        dropped = self.fleet.drop_out(server_round)[clients]
        outcome = first_replies(due, dropped, min(self.goal, len(clients)), spec.deadline)
        seconds = self.now - self.ended + outcome.seconds
        self.now += outcome.seconds
        self.ended = self.now
        unanswered, late = ~outcome.accepted, outcome.late
        return RoundPlan(
            accepted=[m for m, taken in zip(messages, outcome.accepted, strict=True) if taken],
            asked=len(messages),
            replies=dict(zip(clients[~dropped].tolist(), due[~dropped].tolist(), strict=True)),
            late=clients[late].tolist(),
            dropped=clients[dropped].tolist(),
            unavailable=self.unavailable,
            seconds=seconds,
            down=int(down[unanswered].sum()),
            up=int(up[late].sum()),
        )

    def exchanged(
        self, messages: Sequence[Message], replies: Sequence[Message], grid: Grid
    ) -> None:
        """Advances the clock by a query of clients outside of training, to the last reply.

        Receiving and sending count, the latter as if each answer were as large as the largest.
        """
        up = message_bytes([reply for reply in replies if reply.has_content()]).max(initial=0)
        asked = _clients(messages, grid)
        travelling = message_bytes(messages) * self.fleet.down[asked] + up * self.fleet.up[asked]
        self.now += float(travelling.max(initial=0))

    def state(self) -> Tensors:
        """The state for a checkpoint."""
        return {"now": torch.tensor(self.now, dtype=torch.float64)}

    def resume(self, state: Tensors) -> None:
        """Restores a checkpoint's time."""
        self.now = self.ended = float(state["now"])


def message_bytes(messages: Sequence[Message]) -> np.ndarray:
    """Bytes of each message's arrays, int64 of shape (messages,)."""
    sizes: dict[int, int] = {}  # clients mostly share contents: measure each of them once
    for message in messages:
        if id(message.content) not in sizes:
            sizes[id(message.content)] = payload_bytes(message.content)
    return np.array([sizes[id(message.content)] for message in messages], dtype=np.int64)


def _clients(messages: Sequence[Message], grid: Grid) -> np.ndarray:
    """The recipients of messages, int64 of shape (messages,)."""
    nodes = sorted(grid.get_node_ids())
    return np.searchsorted(nodes, [message.metadata.dst_node_id for message in messages])
