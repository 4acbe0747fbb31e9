"""A local half that waits where a test wants it to, and what the test does with it.

Copied beside the scenario, since the processes of a run import it from there.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from fedlab.clients.base import Carry, ClientState, Received
from fedlab.clients.fedbn import FedBN
from fedlab.losses.base import ClientStats

HERE = Path(__file__).parent


class Gated(FedBN):
    """Begins a round once the test has opened its gate, unless the test holds this process."""

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Says that it has come here, and waits."""
        gates, me = Gates(HERE), os.getpid()
        gates.begun(received.server_round, me).touch()
        while gates.held(me).exists() or not gates.is_open(received.server_round):
            time.sleep(0.02)
        return super().begin(received, client_state, stats)


class Gates:
    """The files by which a test and the processes of a run show each other where they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self) -> None:
        """Puts the local half into the folder."""
        shutil.copy(__file__, self.folder / "gated.py")

    def open(self, *rounds: int) -> None:
        """Lets clients through in these rounds; in all, if none is named."""
        for name in rounds or ("every",):
            (self.folder / f"gate-{name}").touch()

    def is_open(self, server_round: int) -> bool:
        """Whether clients are let through in a round."""
        return any((self.folder / f"gate-{name}").exists() for name in (server_round, "every"))

    def held(self, pid: int) -> Path:
        """Exists while a process is held, also while gates are open."""
        return self.folder / f"hold-{pid}"

    def begun(self, server_round: int, pid: int | str) -> Path:
        """Exists once a process has come to a round's gate."""
        return self.folder / f"begun-{server_round}-{pid}"

    def anyone_at(self, server_round: int) -> bool:
        """Whether any process has come to a round's gate."""
        return any(self.folder.glob(self.begun(server_round, "*").name))
