"""How far one reads to follow a round: the files and functions of fedlab that it enters.

    python -m benchmarks.reading_distance [--files]

FedAvg on an image network with four clients in this process, followed by `sys.setprofile`. A round
is the second of three: cohort, messages, local training, mean, a test of every client, history;
what happens once, and checkpoints, are not in it. A run is all from `fedlab.simulate` to the
finished folder: the checks before training and the checkpoint as well.

Lines of functions are those from ``def`` to the end, docstring included: what is before one's eyes.
Lines of code are those among them that Python executes.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

import fedlab

HOME = Path(fedlab.__file__).parent
SCENARIO: dict[str, Any] = {
    "name": "reading_distance",
    "rounds": 3,
    "data": {
        "sources": [{"name": "digits", "train_per_domain": 40, "test_per_domain": 20}],
        "domains": ["handwritten", "scan", "photo", "printed"],
        "image_size": 16,
    },
    "partition": {"clients": 4},
    "model": {"name": "small_cnn", "widths": [4, 4, 4]},
    "strategy": "fedavg",
    "training": {"batch_size": 20},
    "resources": {"backend": "local", "gpus_per_actor": 0},
    "output": {"checkpoint_every": 3},
}
ROUND = 2


@dataclass
class Trace:
    """What was entered while it was on.

    Attributes:
        calls: How often each function was called.
        changes: How often the next line to read was in another file of fedlab.
    """

    calls: Counter[CodeType] = field(default_factory=Counter[CodeType])
    changes: int = 0
    _file: str = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """What `sys.setprofile` calls."""
        if event not in ("call", "return"):
            return
        code = frame.f_code
        if event == "call" and self._is_ours(code):
            self.calls[code] += 1
        reading: FrameType | None = frame if event == "call" else frame.f_back
        while reading and not self._is_ours(reading.f_code):
            reading = reading.f_back  # what others do between two lines of fedlab is not read
        file = reading.f_code.co_filename if reading else self._file
        self.changes += file != self._file
        self._file = file

    @staticmethod
    def _is_ours(code: CodeType) -> bool:
        """Whether it is a function of fedlab, and neither a module nor the body of a class."""
        return bool(code.co_flags & inspect.CO_OPTIMIZED) and code.co_filename.startswith(str(HOME))

    @contextmanager
    def on(self) -> Generator[None]:
        """Follows this thread, and those that are started meanwhile."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """From here on."""
        threading.setprofile(self)
        sys.setprofile(self)

    def stop(self) -> None:
        """No further."""
        sys.setprofile(None)
        threading.setprofile(None)


@dataclass(frozen=True)
class Distance:
    """How far one reads.

    Attributes:
        lines: File -> the lines of the functions that were entered.
        code: How many of these lines are executed.
        functions: File -> how many these are.
        changes: How often the next line to read was in another file.
    """

    lines: dict[str, set[int]]
    code: int
    functions: Counter[str]
    changes: int

    @classmethod
    def of(cls, trace: Trace) -> Distance:
        """Counts lines once, however many functions they are in, and a function once."""
        lines: dict[str, set[int]] = {}
        executed: set[tuple[str, int]] = set()
        functions: Counter[str] = Counter()
        for code in trace.calls:
            file = Path(code.co_filename).relative_to(HOME).as_posix()
            own = {line for _, _, line in code.co_lines() if line}
            executed |= {(file, line) for line in own}
            lines.setdefault(file, set()).update(range(min(own), max(own) + 1))
            functions[file] += not code.co_name.startswith("<")
        return cls(lines, len(executed), functions, trace.changes)

    @property
    def total(self) -> int:
        """Lines in all files."""
        return sum(map(len, self.lines.values()))


class OneRound:
    """Observer that follows a single round, from the end of the one before."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def on_start(self, strategy: Any, first_round: int, rounds: int) -> None:
        """Nothing yet."""

    def on_round(self, strategy: Any, report: Any) -> None:
        """Begins, or ends."""
        if report.round == ROUND - 1:
            self.trace.start()
        elif report.round == ROUND:
            self.trace.stop()

    def on_end(self, strategy: Any) -> None:
        """Nothing is left."""


def measure() -> tuple[Distance, Distance]:
    """The distances of a round, and of a run."""
    torch.set_num_threads(1)
    whole, single = Trace(), Trace()
    with tempfile.TemporaryDirectory() as folder:
        fedlab.simulate(SCENARIO, out=f"{folder}/warm", progress=False)  # data, imports
        with whole.on():
            fedlab.simulate(SCENARIO, out=f"{folder}/run", progress=False)
        observer = OneRound(single)
        fedlab.simulate(SCENARIO, out=f"{folder}/round", progress=False, callbacks=[observer])
    return Distance.of(single), Distance.of(whole)


def table(distances: dict[str, Distance]) -> str:
    """The figures as a table of Markdown."""
    rows = []
    for name, d in distances.items():
        numbers = (len(d.lines), d.functions.total(), d.total, d.code, d.changes)
        rows.append(f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |")
    head = (
        "| | files | functions | lines of functions | lines of code | changes of file |\n"
        "|---|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *rows])


def by_file(distance: Distance) -> str:
    """Files by how much of them is read."""
    order = sorted(distance.lines, key=lambda file: -len(distance.lines[file]))
    return "\n".join(f"{len(distance.lines[f]):5} {distance.functions[f]:4}  {f}" for f in order)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", action="store_true", help="lines and functions by file, too")
    wanted = parser.parse_args()
    single, whole = measure()
    print(table({"a round": single, "a run": whole}))
    if wanted.files:
        print(f"\nlines, functions and files of a round:\n{by_file(single)}")


if __name__ == "__main__":
    main()
