"""Checkpoints: whatever a run needs to go on as if nothing had happened.

    checkpoints/round-000012/server.safetensors      the strategy's state, by record
    checkpoints/round-000012/checkpoint.json         round, sizes of the histories, client files,
                                                     and what of the scenario must not change
    checkpoints/clients/000003-r000012.safetensors   what client 3 kept after round 12

A client's file is written when its state has changed and is shared by all later checkpoints until
it changes again. A checkpoint counts once its folder has its final name; the two newest are kept.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flwr.app import RecordDict
from safetensors import SafetensorError

from fedlab.engine.grid import ClientGrid
from fedlab.errors import RunError
from fedlab.records import Tensors, from_record, to_record
from fedlab.runs.files import write_whole
from fedlab.runs.history import HistoryWriter
from fedlab.runs.tensors import read_tensors, write_tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.callbacks import RoundReport

KEPT = 2

log = logging.getLogger("fedlab")


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after a round.

    Attributes:
        round: The last finished round.
        server: The strategy's state, by record.
        clients: What each client keeps, by client and record.
        history: Sizes in bytes of the history files, to cut off what a lost round left there.
        settled: What of the scenario must not change (see `fedlab.runs.unchanged`).
    """

    round: int
    server: dict[str, Tensors]
    clients: dict[int, dict[str, Tensors]]
    history: dict[str, int]
    settled: dict[str, Any]

    def client_records(self) -> dict[int, RecordDict]:
        """The clients' states as a grid takes them."""
        return {
            client: RecordDict({name: to_record(tensors) for name, tensors in state.items()})
            for client, state in self.clients.items()
        }


class CheckpointWriter:
    """Observer that writes checkpoints.

    Args:
        folder: The run's ``checkpoints`` folder.
        grid: Holds the clients' states.
        history: Its sizes belong to the checkpoint; must be told of a round before this is.
        every: Rounds between checkpoints; the last round always gets one.
        client_files: Files of earlier checkpoints that are still valid, by client.
        settled: What of the scenario must not change while the run goes on.
    """

    def __init__(
        self,
        folder: Path,
        grid: ClientGrid,
        history: HistoryWriter,
        every: int,
        client_files: Mapping[int, str] | None = None,
        settled: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.grid = grid
        self.history = history
        self.every = every
        self.client_files = dict(client_files or {})
        self.settled = dict(settled)
        self._seen = self._written = 0

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None:
        """Nothing is written before the first round."""

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        """Writes a checkpoint when it is due."""
        self._seen = report.round
        if report.round % self.every == 0 or report.round == report.rounds:
            self.write(strategy, report.round)

    def on_end(self, strategy: Strategy) -> None:
        """Writes the checkpoint of a run that an observer stopped between two of them."""
        if self._written != self._seen:
            self.write(strategy, self._seen)

    def write(self, strategy: Strategy, server_round: int) -> None:
        """Writes a checkpoint and removes those that are no longer needed."""
        clients = self.folder / "clients"
        clients.mkdir(parents=True, exist_ok=True)
        for client, state in self.grid.export_states(sorted(self.grid.changed)).items():
            name = f"{client:06d}-r{server_round:06d}.safetensors"
            _save(
                {record: from_record(arrays) for record, arrays in state.array_records.items()},
                clients / name,
            )
            self.client_files[client] = name
        self.grid.changed.clear()
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        _save(strategy.state, unfinished / "server.safetensors")
        manifest = {
            "round": server_round,
            "history": self.history.sync(),
            "server": list(strategy.state),
            "clients": {str(client): name for client, name in sorted(self.client_files.items())},
            "scenario": self.settled,
        }
        write_whole(unfinished / "checkpoint.json", json.dumps(manifest, indent=1))
        final = self.folder / f"round-{server_round:06d}"
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        self._written = server_round
        self._forget()

    def _forget(self) -> None:
        rounds = _rounds(self.folder)
        for old in rounds[:-KEPT]:
            shutil.rmtree(old)
        needed = {name for kept in rounds[-KEPT:] for name in _client_files(kept).values()}
        for file in (self.folder / "clients").iterdir():
            if file.name not in needed:
                file.unlink()


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None if there is none at all.

    Raises:
        RunError: If there are checkpoints and none of them can be read.
    """
    problems = []
    for candidate in reversed(_rounds(folder)):
        try:
            return _load(candidate)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            problems.append(f"{candidate.name}: {error}")
            log.warning("checkpoint %s cannot be read: %s", candidate, error)
    if problems:
        raise RunError(
            f"{folder}: no checkpoint can be read ({'; '.join(problems)}); "
            "delete the run's folder and start it again"
        )
    return None


def client_files(folder: Path, server_round: int) -> dict[int, str]:
    """The client files that the checkpoint of a round refers to."""
    return _client_files(folder / f"round-{server_round:06d}")


def load_client_state(folder: Path, client: int) -> dict[str, Tensors]:
    """What one client kept at the newest checkpoint; empty if it keeps nothing."""
    rounds = _rounds(folder)
    name = _client_files(rounds[-1]).get(client) if rounds else None
    return _open(folder / "clients" / name) if name else {}


def _rounds(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*"))


def _client_files(checkpoint: Path) -> dict[int, str]:
    manifest = json.loads((checkpoint / "checkpoint.json").read_text())
    return {int(client): name for client, name in manifest["clients"].items()}


def _load(checkpoint: Path) -> Checkpoint:
    manifest = json.loads((checkpoint / "checkpoint.json").read_text())
    clients = checkpoint.parent / "clients"
    # The file has tensors by record and name: a record without any would be missing.
    empty: dict[str, Tensors] = {record: {} for record in manifest["server"]}
    return Checkpoint(
        round=manifest["round"],
        server=empty | _open(checkpoint / "server.safetensors"),
        clients={int(c): _open(clients / name) for c, name in manifest["clients"].items()},
        history=manifest["history"],
        settled=manifest["scenario"],
    )


def _save(records: Mapping[str, Tensors], path: Path) -> None:
    """Writes records of tensors under ``record/name``."""
    flat = {
        f"{record}/{name}": tensor
        for record, tensors in records.items()
        for name, tensor in tensors.items()
    }
    write_tensors(path, flat)


def _open(path: Path) -> dict[str, Tensors]:
    records: dict[str, Tensors] = {}
    for key, tensor in read_tensors(path)[0].items():
        record, _, name = key.partition("/")
        records.setdefault(record, {})[name] = tensor
    return records
