"""The interface of a runner: arguments in, one line of JSON out.

Nothing but NumPy is imported, because runners of other platforms, which live in environments of
their own, use this module, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.works import Work

WARM_UP = 2
"""Rounds that are run first and not counted."""

ROOT_PROCESS = "FEDLAB_BENCHMARK_PROCESS"
"""Environment variable with the id of the process that all of a runner's processes come from."""


def arguments(argv: Sequence[str] | None, *options: str) -> tuple[argparse.Namespace, Work]:
    """Reads the command line that all runners share.

    Args:
        argv: The command line; that of the process if it is None.
        *options: Further options of one runner, such as ``--processes``, which take a text.

    Returns:
        The options (``data``, ``rounds`` to time, ``model``), and the work.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True, help="name of a work, or its fields as JSON")
    parser.add_argument("--data", required=True, help="file that benchmarks.works.save wrote")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to time")
    parser.add_argument("--model", required=True, help="where to put the last global model")
    for option in options:
        parser.add_argument(option)
    given = parser.parse_args(argv)
    os.environ.setdefault(ROOT_PROCESS, str(os.getpid()))
    return given, Work.parse(given.work)


class Stopwatch:
    """Notes when rounds begin and end, and the CPU time of those that count.

    Args:
        rounds: Rounds to time, after the first `WARM_UP`.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.marks: list[float] = []
        self._cpu: list[float] = []

    def mark(self) -> None:
        """The first round begins, or a round has ended."""
        if len(self.marks) == WARM_UP:
            self._cpu.append(cpu_seconds())  # before the clock, so that no round pays for it
        self.marks.append(time.perf_counter())
        if len(self.marks) == WARM_UP + self.rounds + 1:
            self._cpu.append(cpu_seconds())

    @property
    def seconds(self) -> list[float]:
        """Wall-clock seconds of every round that counts."""
        counted = self.marks[WARM_UP : WARM_UP + self.rounds + 1]
        return [end - start for start, end in pairwise(counted)]

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes in a round, the mean over those that count."""
        first, last = self._cpu
        return (last - first) / self.rounds


def most_memory() -> float:
    """The most memory that this process has held so far, in MB."""
    # `getrusage` would tell that of the process that started this one, if that held more.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def cpu_seconds() -> float:
    """CPU time that the runner's processes have spent, those that Ray started among them."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        process = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(process)
        spent[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, waiting = 0.0, [int(os.environ[ROOT_PROCESS])]
    while waiting:
        process = waiting.pop()
        total += spent.get(process, 0.0)
        waiting += children.get(process, [])
    return total


def report(
    given: argparse.Namespace,
    watch: Stopwatch,
    model: Mapping[str, np.ndarray],
    **notes: object,
) -> None:
    """Writes the last model and prints a runner's answer.

    Args:
        given: What `arguments` returned.
        watch: Was marked before the first round and after each.
        model: Tensors of the last global model, by the names that PyTorch's ``state_dict`` gives.
        **notes: Whatever a reader should know, such as what was chosen.
    """
    # Counters of batches are left out: not every platform has them.
    model = {name: a for name, a in model.items() if np.issubdtype(a.dtype, np.floating)}
    np.savez(given.model, **model)  # type: ignore[arg-type]
    answer = {
        "seconds": [round(value, 6) for value in watch.seconds],
        "cpu": round(watch.cpu, 6),
        "norm": float(np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in model.values()))),
        "max_rss_mb": round(most_memory()),
        **notes,
    }
    print(json.dumps(answer), flush=True)
