"""Seconds a round on the loopback: `fedlab serve` and `join` beside stock `flwr run`, same app.

    python -m benchmarks.loopback
    python -m benchmarks.loopback --models small_cnn --rounds 10 --stock-rounds 3

Two devices with two hundred images each train FedAvg and test it, every round. Three things are
measured, one after the other: the work alone (a simulation in this process), fedlab's server with
TLS and keys and two devices in processes of their own, and Flower's SuperLink, two SuperNodes and
`flwr run` without TLS, which runs the very same ServerApp and ClientApp. What a device spends on a
task is what it says in its log; the rest of a round is messages and waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

import fedlab
from benchmarks import machine
from fedlab.scenario_file import to_yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOMAINS = ("north", "south")
SAMPLES = 200
PATIENCE = 1800.0
APP = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "loopback"
version = "0.1.0"
description = "A benchmark."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "fedlab"
[tool.flwr.app.components]
serverapp = "loopback.server:server_app"
clientapp = "loopback.client:client_app"
"""


def write_work(folder: Path, model: str, rounds: int) -> None:
    """Data of two domains and the scenario over them."""
    for index, domain in enumerate(DOMAINS):
        random = np.random.default_rng(index)
        arrays = {}
        for split, count in (("train", SAMPLES), ("test", SAMPLES // 4)):
            images = random.integers(0, 256, (count, 3, 28, 28), dtype=np.uint8)
            arrays |= {f"x_{split}": images, f"y_{split}": np.arange(count) % 10}
        np.savez(folder / f"{domain}.npz", **arrays)
    values = {
        "name": "loopback",
        "rounds": rounds,
        "data": {
            "sources": [{"name": "npz", "domain": d, "path": f"{d}.npz"} for d in DOMAINS],
            "root": str(folder),
        },
        "partition": {"clients": len(DOMAINS)},
        "model": {"name": model},
        "training": {"batch_size": 32, "optimizer": {"lr": 0.01}},
        "engine": {"execution": "sequential", "linear": "dense"},
        "resources": {"backend": "local", "gpus_per_actor": 0},
    }
    (folder / "loopback.yaml").write_text(to_yaml(fedlab.load_scenario(values)))


def seconds_of_rounds(folder: Path) -> list[float]:
    """Of all rounds after the first, which has start-up in it."""
    timings = pd.read_csv(folder / "timings.csv")
    return timings.groupby("round")["seconds"].sum().tolist()[1:]


def work_alone(folder: Path) -> list[float]:
    fedlab.simulate(folder / "loopback.yaml", out=folder / "alone", progress=False)
    return seconds_of_rounds(folder / "alone")


def deployed(folder: Path) -> tuple[list[float], float]:
    """Seconds of rounds, and of them what the slower device computes."""
    run = Runner(folder, {})
    run.once("fedlab", "keys", "init")
    for domain in DOMAINS:
        run.once("fedlab", "keys", "add", domain)
    with run.running("fedlab", "serve", "loopback.yaml", "--host", "127.0.0.1", "--port", "0",
                     "--out", "deployed", log="server") as server:  # fmt: skip
        wait_for(lambda: "waiting for" in run.said("server"), "the server")
        address = re.search(r"devices join at (\S+)", run.said("server"))
        assert address is not None
        joins = [
            run.running(
                "fedlab",
                "join",
                address[1],
                "--data",
                f"{d}.npz",
                "--key",
                f"{d}.pem",
                "--threads",
                "1",
                log=d,
            )
            for d in DOMAINS
        ]
        with joins[0], joins[1]:
            if server.wait(PATIENCE):
                raise RuntimeError(run.said("server"))
    tasks = [
        re.findall(r"round (\d+) (?:train|evaluate): ([\d.]+) s", run.said(d)) for d in DOMAINS
    ]
    computing = [sum(float(s) for r, s in of if int(r) > 1) for of in tasks]
    seconds = seconds_of_rounds(folder / "deployed")
    return seconds, max(computing) / len(seconds)


def stock(folder: Path) -> list[float]:
    """The same app on Flower's own processes."""
    port, *ports = free_ports(3)
    home, app = folder / "flwr", folder / "app"
    (app / "loopback").mkdir(parents=True)
    home.mkdir()
    (app / "pyproject.toml").write_text(APP)
    for side in ("server", "client"):
        lines = f"from benchmarks import loopback_app\n\n{side}_app = loopback_app.{side}_app\n"
        (app / "loopback" / f"{side}.py").write_text(lines)  # Flower looks for the assignment
    (app / "loopback" / "__init__.py").touch()
    link = f'[superlink]\ndefault = "loop"\n[superlink.loop]\naddress = "127.0.0.1:{port}"\n'
    (home / "config.toml").write_text(link + "insecure = true\n")
    run = Runner(folder, {"FLWR_HOME": str(home), "LOOPBACK": str(folder)})
    with run.running("flower-superlink", "--insecure", "--disable-runtime-dependency-installation",
                     "--host", "127.0.0.1", "--port", str(port), log="superlink"):  # fmt: skip
        wait_for(lambda: answers(port), "the SuperLink")
        nodes = [
            run.running("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}",
                        "--port", str(own), "--node-config",
                        f"partition-id={k} num-partitions={len(DOMAINS)}", log=f"node{k}")
            for k, own in enumerate(ports)
        ]  # fmt: skip
        with nodes[0], nodes[1]:
            run.once("flwr", "run", str(app), "loop")
            wait_for((folder / "stock" / "done").exists, "the run", PATIENCE)
    return seconds_of_rounds(folder / "stock")


class Runner:
    """Starts commands of this environment in a folder, each with a log."""

    BIN = Path(sys.executable).parent

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        path = f"{self.BIN}{os.pathsep}{os.environ['PATH']}"  # Flower starts its own by name
        plain = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        self.environment = os.environ | plain | {"PATH": path} | environment

    def _command(self, words: Sequence[str]) -> list[str]:
        return [str(self.BIN / words[0]), *words[1:]]

    def once(self, *words: str) -> None:
        """Runs a command to its end."""
        subprocess.run(
            self._command(words), cwd=self.folder, env=self.environment, check=True,
            stdout=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip

    @contextmanager
    def running(self, *words: str, log: str) -> Iterator[subprocess.Popen]:
        """A command that runs while the block does."""
        with (self.folder / f"{log}.log").open("w") as file:
            process = subprocess.Popen(
                self._command(words),
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def said(self, log: str) -> str:
        """What a command has written so far."""
        file = self.folder / f"{log}.log"
        return file.read_text() if file.exists() else ""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} has not come within {seconds:.0f} seconds")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(model: str, rounds: int, stock_rounds: int) -> dict:
    """All three, one after the other."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_work(folder, model, rounds)
        network = fedlab.load_scenario(folder / "loopback.yaml").model.network((3, 28, 28), 10)
        size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
        alone = work_alone(folder)
        ours, computing = deployed(folder)
        write_work(folder, model, stock_rounds)
        theirs = stock(folder)
    return {"model": model, "megabytes": size / 1e6, "alone": alone, "deployed": ours,
            "computing": computing, "stock": theirs}  # fmt: skip


def table(rows: Sequence[dict]) -> str:
    lines = [
        "| model | MB | the work alone | fedlab, TLS and keys | of that computing | messages and "
        "waiting | stock `flwr run`, in the clear | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        alone, ours, theirs = (median(row[key]) for key in ("alone", "deployed", "stock"))
        lines.append(
            f"| {row['model']} | {row['megabytes']:.1f} | {alone:.3f} s | {ours:.2f} s "
            f"({min(row['deployed']):.2f} - {max(row['deployed']):.2f}) | {row['computing']:.2f} s "
            f"| {ours - row['computing']:.2f} s | {theirs:.1f} s ({min(row['stock']):.1f} - "
            f"{max(row['stock']):.1f}) | {theirs / ours:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["small_cnn", "digits_cnn"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--stock-rounds", type=int, default=5)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this
    share = machine.busy()
    rows = [measure(model, given.rounds, given.stock_rounds) for model in given.models]
    command = " ".join(["python -m benchmarks.loopback", *sys.argv[1:]])
    versions = ", ".join(f"{name} {v}" for name, v in machine.versions("torch", "flwr").items())
    text = (
        f"# Rounds on the loopback, {machine.description()}\n\n"
        f"`{command}` on {time.strftime('%Y-%m-%d')}, medians over all rounds after the first "
        f"(range), on a machine of which other work took {share:.0%} before; {versions}. Two "
        f"devices of {SAMPLES} images, one thread each; a round is training, aggregation and a "
        f"test.\n\n{table(rows)}\n"
    )
    print(text)
    name = f"loopback-{machine.kind()}"
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
