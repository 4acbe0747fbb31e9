"""fedlab itself, through its public `fedlab.simulate`; ``--set "a.b=value ..."`` overrides."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import fedlab
from benchmarks.fedlab_work import scenario
from benchmarks.harness import WARM_UP, Stopwatch, arguments, report

if TYPE_CHECKING:
    from fedlab.federation.callbacks import RoundReport
    from fedlab.strategies.base import Strategy


class Observer:
    """Takes the time of every round as a user sees it, with history on disk and observers.

    Args:
        rounds: Rounds to time; the model is taken after the last of them.
    """

    def __init__(self, rounds: int) -> None:
        self.last = WARM_UP + rounds
        self.watch = Stopwatch(rounds)
        self.model: dict[str, np.ndarray] = {}

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None:
        """The first round begins."""
        self.watch.mark()

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        """A round has ended."""
        self.watch.mark()
        if report.round == self.last:
            tensors = strategy.state["arrays"]
            self.model = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    def on_end(self, strategy: Strategy) -> None:
        """All rounds have ended."""


class LastLine(logging.Handler):
    """Keeps the line in which fedlab says how it trains the clients."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Takes over a line of the log."""
        if record.getMessage().startswith("training "):
            self.text = record.getMessage().removeprefix("training ")


def main(argv: Sequence[str] | None = None) -> None:
    given, work = arguments(argv, "--set")
    # One round more that does not count, for it writes the checkpoint, too.
    experiment = scenario(work, Path(given.data), WARM_UP + given.rounds + 1)
    observer, chosen = Observer(given.rounds), LastLine()
    logger = logging.getLogger("fedlab")
    logger.addHandler(chosen)
    logger.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        fedlab.simulate(
            experiment,
            (given.set or "").split(),
            out=Path(folder) / "run",
            callbacks=[observer],
            progress=False,
        )
    notes = {"chosen": chosen.text}
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        notes["gpu_mb"] = str(round(torch.cuda.max_memory_allocated() / 2**20))
    report(given, observer.watch, observer.model, **notes)


if __name__ == "__main__":
    main()
