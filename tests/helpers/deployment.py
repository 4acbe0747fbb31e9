"""`fedlab serve` and `fedlab join` as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.devices_here import assert_like_a_simulation
from helpers.processes import wait_until

PATIENCE = 300.0
"""Seconds for what takes ten on a machine that has nothing else to do."""


BASE_ONLY = """\
from importlib.machinery import PathFinder

ABSENT = {"ray", "pandas", "sklearn", "matplotlib", "pyarrow", "jinja2"}
find = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in ABSENT else find(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)  # dill asks an instance
"""
"""Run when Python starts: what the extra `sim` installs is not there."""


class Command:
    """A `fedlab` process that writes to a file."""

    def __init__(self, folder: Path, log: str, *words: object, base_only: bool = False) -> None:
        self.log = folder / log
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("PYTHONPATH", None)
        if base_only:
            environment["PYTHONPATH"] = str(folder / "base_only")
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "fedlab"), *map(str, words)],
                cwd=folder,
                env=environment,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> str:
        """Waits until it has written a text; gives all it has written."""
        ended = lambda: self.process.poll() is not None  # noqa: E731
        wait_until(lambda: text in self.said or ended(), PATIENCE)
        assert text in self.said, self.said
        return self.said

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Deployment:
    """A folder with a scenario, and the processes that run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Command] = []
        self.port = ""
        (folder / "base_only").mkdir()
        (folder / "base_only" / "sitecustomize.py").write_text(BASE_ONLY)

    def start(self, log: str, *words: object, base_only: bool = False) -> Command:
        self.started.append(Command(self.folder, log, *words, base_only=base_only))
        return self.started[-1]

    def serve(self, *words: object) -> Command:
        server = self.start("server.log", "serve", "four.yaml", "--out", "out", *words)
        said = server.says("waiting for")
        self.port = said.partition("devices join at ")[2].split()[0].rpartition(":")[2]
        return server

    def join(self, domain: str, *words: object, log: str = "", data: str = "") -> Command:
        address = f"127.0.0.1:{self.port}"
        return self.start(
            log or f"{domain}.log",
            *("join", address, "--data", data or f"{domain}.npz", "--threads", 1, *words),
            base_only=True,
        )

    def end(self) -> None:
        for command in self.started:
            command.kill()


def assert_processes_like_a_simulation(files: Mapping[str, Path], folder: Path) -> None:
    """A server and a device for each file, processes of their own, end as a simulation does.

    Args:
        files: Samples of each device, by domain, in `folder`, which has the scenario.
        folder: Where all of them work.
    """
    deployment = Deployment(folder)
    try:
        server = deployment.serve("--insecure", "--port", 0)
        devices = [
            deployment.join(domain, "--insecure", data=file.name) for domain, file in files.items()
        ]
        assert server.ends() == 0, server.said
        for device in devices:
            assert device.ends() == 0, device.said
        assert not (folder / "out" / "failures.csv").exists()
        assert_like_a_simulation(folder / "out", folder)
    finally:
        deployment.end()
