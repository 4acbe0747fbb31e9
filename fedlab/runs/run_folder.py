"""A run's folder: its files, and the lock that ensures a single writer.

scenario.yaml        the scenario, with every default written out
environment.json     versions, hardware, commit
workload.json        what a round asks of a client: parameters, passes
history.csv          every number of every round; byte-identical in an equal run
counts.csv           what metrics have counted, where they keep it; byte-identical as well
timings.csv          wall-clock seconds by round and phase, which are not
partition.csv        whose each sample is, with the names of owners
failures.csv         clients that gave no update in a round, by name, and why; if there were any
checkpoints/         what `fedlab resume` goes on from
model.safetensors    what the server holds after the last round
tensorboard/         what TensorBoard shows, where the scenario names it as a tracker
finished.json        there once the run has ended, with its number of rounds
forgotten.json       where the run goes on from a model that has forgotten: what, and how
devices.json         where clients are real devices: which device is which client
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO

from fedlab.errors import InputError
from fedlab.files import write_whole
from fedlab.runs.environment import describe_environment
from fedlab.scenario import Scenario
from fedlab.scenario_file import to_yaml

LOCK = ".lock"


class RunFolder:
    """The folder of one run; a process that writes to it holds its lock (``with folder: ...``).

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: str | Path, scenario: Scenario, devices: str | None = None) -> RunFolder:
        """Makes the folder of a new run.

        Args:
            path: The folder.
            scenario: What is run.
            devices: Content of ``devices.json``, where clients are real devices.

        Raises:
            InputError: If something is there already, or the folder cannot be made.
        """
        cls.refuse_used(path)
        folder = cls(Path(path))
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            with folder:
                cls.refuse_used(path)  # under the lock, so that no other process can write to it
                environment = json.dumps(describe_environment(), indent=2) + "\n"
                write_whole(folder.environment_file, environment)
                if devices is not None:
                    write_whole(folder.devices_file, devices)
                # Last: it says that the others are there. A process that is killed before that
                # leaves a folder that can be used again.
                write_whole(folder.scenario_file, to_yaml(scenario))
        except OSError as error:
            raise InputError(
                f"the folder '{path}' cannot be made: {error.strerror}; choose another with --out"
            ) from error
        return folder

    @classmethod
    def refuse_used(cls, path: str | Path) -> None:
        """Refuses a path that cannot be the folder of a new run.

        Raises:
            InputError: If it is a file, or a folder that holds anything.
        """
        folder = cls(Path(path))
        if not folder.path.is_dir():
            if folder.path.exists():
                raise InputError(f"'{path}' is a file; choose a folder with --out")
        elif not {file.name for file in folder.path.iterdir()} <= folder._leftovers:
            raise InputError(f"the folder '{path}' {folder._remedy()}")

    @property
    def _leftovers(self) -> set[str]:
        """Files that may be in the folder of a run that was killed before it started."""
        if not (self.path / LOCK).exists():
            return set()
        first = (self.environment_file, self.devices_file, self.scenario_file)
        unfinished = {f"{file.name}.unfinished" for file in first}
        return {
            LOCK,
            "superlink.log",
            self.environment_file.name,
            self.devices_file.name,
        } | unfinished

    def _remedy(self) -> str:
        if self.finished:
            return "holds a finished run; delete it, or choose another folder with --out"
        if self.scenario_file.is_file():
            return (
                f"holds a run that has not finished; go on with `{self.goes_on_with}`, delete it, "
                "or choose another folder with --out"
            )
        return "is not empty; choose another with --out"

    def reopen(self, scenario: Scenario) -> None:
        """Replaces the scenario of a resumed run; only free settings may differ."""
        self.finished_file.unlink(missing_ok=True)
        write_whole(self.scenario_file, to_yaml(scenario))

    @property
    def goes_on_with(self) -> str:
        """The command that resumes an interrupted run."""
        return f"fedlab {'serve' if self.devices_file.is_file() else f'resume {self.path}'}"

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: If the folder holds no run.
        """
        folder = cls(Path(path))
        if not folder.scenario_file.is_file():
            if folder.path.is_file():
                raise InputError(f"'{path}' is a file; name a folder that `fedlab simulate` made")
            what = "holds no run (no scenario.yaml)" if folder.path.is_dir() else "is not there"
            raise InputError(
                f"the folder '{path}' {what}; name a folder that `fedlab simulate` made"
            )
        return folder

    @property
    def scenario_file(self) -> Path:
        """The resolved scenario."""
        return self.path / "scenario.yaml"

    @property
    def environment_file(self) -> Path:
        """Versions, hardware, commit."""
        return self.path / "environment.json"

    @property
    def workload_file(self) -> Path:
        """File with the number of parameters that a client trains."""
        return self.path / "workload.json"

    @property
    def partition_file(self) -> Path:
        """Whose each sample is."""
        return self.path / "partition.csv"

    @property
    def history_file(self) -> Path:
        """The tidy rows of all rounds."""
        return self.path / "history.csv"

    @property
    def timings_file(self) -> Path:
        """Seconds by round and phase."""
        return self.path / "timings.csv"

    @property
    def model_file(self) -> Path:
        """The server's tensors after the last round."""
        return self.path / "model.safetensors"

    @property
    def devices_file(self) -> Path:
        """File with the devices of the clients, in a run on real devices."""
        return self.path / "devices.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def finished_file(self) -> Path:
        """The mark of a run that has ended."""
        return self.path / "finished.json"

    @property
    def finished(self) -> bool:
        """Whether the run has ended by itself."""
        return self.finished_file.is_file()

    @property
    def busy(self) -> bool:
        """Whether a process holds its lock."""
        try:
            with (self.path / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def __enter__(self) -> RunFolder:
        """Takes the lock; the operating system releases it when the process ends.

        Raises:
            InputError: If another process writes to this run.
        """
        lock = (self.path / LOCK).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            writer = lock.read().strip() or "unknown"
            lock.close()
            raise InputError(
                f"the run '{self.path}' is being written by another process (id {writer}); "
                "wait for its end, or choose another folder with --out"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Releases the lock, even if a child process of another thread has inherited the file."""
        if self._lock:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock.close()
            self._lock = None
