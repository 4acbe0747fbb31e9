"""Checkpoints: the state from which a run is resumed with identical results.

    checkpoints/round-000012/server.safetensors      the strategy's state, by record
    checkpoints/round-000012/checkpoint.json         round, sizes of the histories, client files,
                                                     and the scenario's fixed settings
    checkpoints/clients/000003-r000012.safetensors   the state of client 3 after round 12

Every file has a checksum, and the checkpoint has digests of the histories. If any of them is
damaged, the run is resumed from the checkpoint before.

A client's file is written when its state has changed and is shared by all later checkpoints until
it changes again. A checkpoint counts once its folder has its final name; the two newest are kept.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flwr.app import RecordDict

from fedlab.engine.grid import ClientGrid
from fedlab.errors import RunError
from fedlab.federation.callbacks import RoundReport
from fedlab.federation.round_strategy import RoundStrategy
from fedlab.records import Tensors, from_record, to_record
from fedlab.runs.checkpoint_manifest import read_manifest, write_manifest
from fedlab.runs.history import HistoryWriter, Mark, check_marks
from fedlab.tensor_files import read_records, write_records

KEPT = 2
NAME = re.compile(r"round-\d{6,}")

log = logging.getLogger("fedlab")


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after a round.

    Attributes:
        round: The last finished round.
        server: The strategy's state, by record.
        clients: The clients' states, by client and record.
        history: Sizes of the history files, to cut off rows of lost rounds.
        fixed_settings: Scenario settings that must not change (see `fedlab.runs.resume_check`).
        data: Fingerprint of the samples (see `fedlab.runs.fingerprint`).
        execution: How clients were executed; a resumed run does the same where that was timed.
    """

    round: int
    server: dict[str, Tensors]
    clients: dict[int, dict[str, Tensors]]
    history: dict[str, Mark]
    fixed_settings: dict[str, Any]
    data: dict[str, Any]
    execution: dict[str, Any] | None = None

    def client_records(self) -> dict[int, RecordDict]:
        """The clients' states as records for a grid."""
        return {
            client: RecordDict({name: to_record(tensors) for name, tensors in state.items()})
            for client, state in self.clients.items()
        }


class CheckpointWriter:
    """Observer that writes checkpoints.

    Args:
        folder: The run's ``checkpoints`` folder.
        grid: Holds the clients' states.
        history: Its sizes belong to the checkpoint; must be notified of a round before this is.
        every: Rounds between checkpoints; the last round always gets one.
        client_files: Files of earlier checkpoints that are still valid, by client.
        fixed_settings: Scenario settings that must not change when the run is resumed.
        data: Fingerprint of the samples, which must not change either.
    """

    def __init__(
        self,
        folder: Path,
        grid: ClientGrid,
        history: HistoryWriter,
        every: int,
        client_files: Mapping[int, str] | None = None,
        fixed_settings: Mapping[str, Any] = MappingProxyType({}),
        data: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.grid = grid
        self.history = history
        self.every = every
        self.client_files = dict(client_files or {})
        self.fixed_settings = dict(fixed_settings)
        self.data = dict(data)
        self.kept_round: int | None = None
        """A round whose checkpoint is kept besides the newest: the best so far."""
        self._seen = self._written = 0

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Nothing is written before the first round."""

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Writes a checkpoint when it is due."""
        if report.concludes:
            return
        self._seen = report.round
        due = report.round % self.every == 0 or report.round == report.rounds
        if due or report.round == self.kept_round:
            self.write(strategy, report.round)

    def on_end(self, strategy: RoundStrategy) -> None:
        """Writes the checkpoint of a run that an observer stopped between two of them."""
        if self._written != self._seen:
            self.write(strategy, self._seen)

    @property
    def last_round(self) -> int | None:
        """The last round with a checkpoint, or None."""
        rounds = _rounds(self.folder)
        return int(rounds[-1].name[6:]) if rounds else None

    def write(self, strategy: RoundStrategy, server_round: int) -> None:
        """Writes a checkpoint and removes those that are no longer needed."""
        clients = self.folder / "clients"
        clients.mkdir(parents=True, exist_ok=True)
        for client, state in self.grid.export_states(sorted(self.grid.changed)).items():
            name = f"{client:06d}-r{server_round:06d}.safetensors"
            records = {name: from_record(each) for name, each in state.array_records.items()}
            write_records(clients / name, records)
            self.client_files[client] = name
        self.grid.changed.clear()
        put_checkpoint(
            self.folder,
            server_round,
            strategy.state,
            history=self.history.sync(),
            fixed_settings=self.fixed_settings,
            data=self.data,
            client_files=self.client_files,
            execution=self.grid.choice._asdict() if self.grid.choice else None,
        )
        self._written = server_round
        self._forget()

    def _forget(self) -> None:
        rounds = _rounds(self.folder)
        done = [each for each in rounds if int(each.name[6:]) <= self._written]
        best = [each for each in done if int(each.name[6:]) == self.kept_round]
        stay = {*done[-KEPT:], *best}
        # One of a later round is damaged: otherwise the run would have gone on from there.
        for old in {*rounds} - stay:
            shutil.rmtree(old)
        needed = {name for kept in stay for name in _readable_client_files(kept).values()}
        for file in (self.folder / "clients").iterdir():
            if file.name not in needed:
                file.unlink()


def put_checkpoint(
    folder: Path,
    server_round: int,
    server: Mapping[str, Tensors],
    *,
    history: Mapping[str, Mark],
    fixed_settings: Mapping[str, Any],
    data: Mapping[str, Any],
    client_files: Mapping[int, str] = MappingProxyType({}),
    execution: Mapping[str, Any] | None = None,
) -> None:
    """Writes the checkpoint of a round, or replaces it.

    Args:
        folder: The run's ``checkpoints`` folder, which is there.
        server_round: The last finished round.
        server: The strategy's state, by record.
        history: Sizes of the history files (`HistoryWriter.sync`).
        fixed_settings: Scenario settings that must not change when the run is resumed.
        data: Fingerprint of the samples, which must not change either.
        client_files: Files of the clients' states, by client.
        execution: How clients were executed (`fedlab.engine.execution.mode.ExecutionPlan`).
    """
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    write_records(unfinished / "server.safetensors", server)
    manifest = {
        "round": server_round,
        "history": history,
        "clients": {str(client): name for client, name in sorted(client_files.items())},
        "scenario": fixed_settings,
        "data": data,
        "execution": execution,
    }
    write_manifest(unfinished, manifest)
    final = folder / f"round-{server_round:06d}"
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, or None if there is none at all.

    Raises:
        RunError: If there are checkpoints and none of them can be read.
    """
    problems: list[str] = []
    for candidate in reversed(_rounds(folder)):
        try:
            return _load(candidate)
        except Exception as error:  # damage can make a reader raise anything
            problems.append(f"{candidate.name}: {error}")
            log.warning("checkpoint %s cannot be read: %s", candidate, error)
    if problems:
        raise RunError(
            f"{folder}: no checkpoint can be read ({'; '.join(problems)}); "
            "delete the run's folder and start it again"
        )
    return None


def load_checkpoint(folder: Path, server_round: int) -> Checkpoint:
    """The checkpoint of a round.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
    """
    return _load(folder / f"round-{server_round:06d}")


def client_files(folder: Path, server_round: int) -> dict[int, str]:
    """The client files that the checkpoint of a round refers to."""
    return _client_files(folder / f"round-{server_round:06d}")


def load_client_state(
    folder: Path, client: int, server_round: int | None = None
) -> dict[str, Tensors]:
    """One client's state in a round's checkpoint, the newest by default; empty without any."""
    chosen = [each for each in _rounds(folder) if server_round in (None, int(each.name[6:]))]
    for candidate in reversed(chosen):
        name = _readable_client_files(candidate).get(client)
        return read_records(folder / "clients" / name)[0] if name else {}
    return {}


def _rounds(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("round-*") if NAME.fullmatch(each.name))


def _client_files(checkpoint: Path) -> dict[int, str]:
    return {int(client): name for client, name in read_manifest(checkpoint)["clients"].items()}


def _readable_client_files(checkpoint: Path) -> dict[int, str]:
    """The client files of a checkpoint; none of one that is damaged."""
    try:
        return _client_files(checkpoint)
    except (OSError, ValueError, KeyError):
        return {}


def _load(checkpoint: Path) -> Checkpoint:
    manifest = read_manifest(checkpoint)
    clients = checkpoint.parent / "clients"
    history = {name: Mark(*mark) for name, mark in manifest["history"].items()}
    check_marks(checkpoint.parent.parent, history)
    server, _ = read_records(checkpoint / "server.safetensors")
    return Checkpoint(
        round=manifest["round"],
        server=server,
        clients={int(c): read_records(clients / n)[0] for c, n in manifest["clients"].items()},
        history=history,
        fixed_settings=manifest["scenario"],
        data=manifest["data"],
        execution=manifest.get("execution"),  # runs before 0.2 do not say it
    )
