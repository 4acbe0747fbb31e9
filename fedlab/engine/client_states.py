"""Clients' states between rounds: in memory up to a budget, and on disk beyond it."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

BUDGET = 512 * 2**20
"""Bytes of states that stay in this process's memory."""


class ClientStates:
    """Client -> its state, as a record or as a reference to one (a Ray object reference).

    Beyond the budget, the least recently used states are moved to a temporary folder. A run is not
    resumed from there but from its checkpoints.

    Args:
        fetch: Resolves a reference to its record.
        budget: Bytes that stay in memory.
    """

    def __init__(
        self, fetch: Callable[[Any], RecordDict] = lambda state: state, budget: int = BUDGET
    ) -> None:
        self._fetch = fetch
        self._left = budget
        self._here: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._elsewhere: dict[int, Any] = {}  # references to records in other memory
        self._spilled: set[int] = set()
        self._folder: Path | None = None

    def get(self, client: int) -> Any:
        """A client's state, or None if it has none."""
        if client in self._here:
            self._here.move_to_end(client)
            return self._here[client][0]
        if client in self._spilled:
            return pickle.loads(self._file(client).read_bytes())
        return self._elsewhere.get(client)

    def put(self, client: int, state: Any, size: int) -> None:
        """Replaces a client's state.

        Args:
            client: The client.
            state: A record, or a reference to one.
            size: Its bytes in this process's memory; 0 if it is in other memory.
        """
        _, old = self._here.pop(client, (None, 0))
        self._left += old - size
        self._spilled.discard(client)
        self._elsewhere.pop(client, None)
        if not size:
            self._elsewhere[client] = state
            return
        self._here[client] = state, size
        while self._left < 0 and len(self._here) > 1:
            self._spill()

    def records(self, clients: Iterable[int]) -> dict[int, RecordDict]:
        """These clients' states, as records in this process."""
        states = {client: self.get(client) for client in clients}
        return {
            client: state if isinstance(state, RecordDict) else self._fetch(state)
            for client, state in states.items()
            if state is not None
        }

    def close(self) -> None:
        """Drops all states and deletes the temporary folder."""
        for held in (self._here, self._spilled, self._elsewhere):
            held.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _spill(self) -> None:
        """Writes the least recently used state to disk."""
        client = next(iter(self._here))
        self._file(client).write_bytes(pickle.dumps(self.records([client])[client], protocol=5))
        _, size = self._here.pop(client)
        self._spilled.add(client)
        self._left += size

    def _file(self, client: int) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fedlab-clients-"))
        return self._folder / f"{client}.pickle"
