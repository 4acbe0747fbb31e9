"""What a runner is told and what it answers: arguments in, one line of JSON out.

Nothing but NumPy is imported, because runners of other platforms, which live in environments of
their own, use this module, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.works import Work

WARM_UP = 2
"""Rounds that are run first and not counted."""


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
    return given, Work.parse(given.work)


class Stopwatch:
    """Notes when rounds begin and end."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def mark(self) -> None:
        """Another round has begun, or ended."""
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Seconds from each mark to the next."""
        return [end - start for start, end in zip(self.marks, self.marks[1:], strict=False)]


def report(
    given: argparse.Namespace,
    seconds: Sequence[float],
    model: Mapping[str, np.ndarray],
    **notes: object,
) -> None:
    """Writes the last model and prints a runner's answer.

    Args:
        given: What `arguments` returned.
        seconds: Wall-clock seconds of every round that counts.
        model: Tensors of the last global model, by the names that PyTorch's ``state_dict`` gives.
        **notes: Whatever a reader should know, such as what was chosen.
    """
    # Counters of batches are left out: not every platform has them.
    model = {name: a for name, a in model.items() if np.issubdtype(a.dtype, np.floating)}
    np.savez(given.model, **model)  # type: ignore[arg-type]
    answer = {
        "seconds": [round(value, 6) for value in seconds],
        "norm": float(np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in model.values()))),
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **notes,
    }
    print(json.dumps(answer), flush=True)
