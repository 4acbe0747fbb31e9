"""One run of a comparison from beginning to end, in this process or in one that Ray starts."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from fedlab.config import registry
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.start import start_grid
from fedlab.errors import FedlabError
from fedlab.federation.callbacks import Callback, RoundReport
from fedlab.models.anatomy import anatomy_of
from fedlab.preparation import prepare
from fedlab.runs.history import to_frame
from fedlab.runs.pause import PauseAfter, Paused
from fedlab.scenario import ResourcesSpec, Scenario
from fedlab.simulation import start_or_resume

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy

log = logging.getLogger("fedlab")


@dataclass(frozen=True)
class RunTask:
    """A run to be done.

    Attributes:
        name: Of its folder inside that of the comparison.
        folder: The run's folder.
        scenario: What is run, as it stands in the folder.
        resources: What it is run on, here and now.
        threads: PyTorch threads of the server; all by default.
        session_classes: Classes that another process may not be able to import.
        until: The round after which it stops for the time being; None runs it to its end.
    """

    name: str
    folder: Path
    scenario: Scenario
    resources: ResourcesSpec
    threads: int | None = None
    session_classes: Mapping[str, Any] = field(default_factory=dict)
    until: int | None = None


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run: its round and score, warnings, or its failure.

    Attributes:
        round: Rounds done.
        rounds: Rounds there will be.
        score: The first metric's mean over domains after the round in words; empty where it was not
            evaluated.
        warnings: Logged since the last report, clients that failed among them.
        failure: Why the run has failed, if it has.
    """

    round: int = 0
    rounds: int = 0
    score: str = ""
    warnings: Sequence[str] = ()
    failure: str | None = None


Load = Callable[[DataSpec], FederatedData]
Report = Callable[[RunProgress], None]
OnProgress = Callable[[RunTask, RunProgress | None], None]
"""Called with a job and its progress; with None when the job has ended."""


def conduct(job: RunTask, data: FederatedData, report: Report) -> None:
    """Runs a job, or goes on with it.

    Raises:
        FedlabError: If it cannot be run, or fails.
    """
    registry.register_classes(job.session_classes)
    prepared = prepare(job.scenario, lambda _: data)
    laid_out = prepared.scenario.model_copy(update={"resources": job.resources})
    observed = anatomy_of(prepared.model).observed
    grid, _ = start_grid(laid_out, prepared.data, prepared.partition, observed)
    if job.threads is not None:
        torch.set_num_threads(job.threads)  # as in a single run: same sums, same bytes
    observers: list[Callback] = [_Reporter(report)]
    if job.until is not None:
        observers.append(PauseAfter(job.until))
    with grid, suppress(Paused):
        start_or_resume(prepared, grid, job.folder, observers)


def attempt(job: RunTask, data: FederatedData, report: Report) -> None:
    """Runs a job; an error is reported and stops no other job."""
    try:
        conduct(job, data, report)
    except FedlabError as error:
        report(RunProgress(failure=str(error)))
    except (Exception, SystemExit) as error:  # a method's own code may raise anything
        report(RunProgress(failure=_with_place(error)))


def _with_place(error: BaseException) -> str:
    """The message and traceback of an error; the last line has the place alone."""
    calls = traceback.extract_tb(error.__traceback__)
    place = f"in {calls[-1].name}, {Path(calls[-1].filename).name}:{calls[-1].lineno}"
    return f"{type(error).__name__}: {error}\n{''.join(calls.format())}{place}"


class RunWorker:
    """Runs one job after another in a process that Ray starts.

    Args:
        import_path: Where the driver finds a user's own modules.
        folder: Where the driver's relative paths start.
        settings: Environment variables that fedlab reads.
    """

    def __init__(
        self, import_path: Sequence[str], folder: Path, settings: Mapping[str, str]
    ) -> None:
        if sys.path[0] in import_path[1:]:  # Ray puts the current folder first
            sys.path.append(sys.path.pop(0))
        sys.path.extend(path for path in import_path if path not in sys.path)
        os.chdir(folder)
        os.environ.update(settings)

    def run(self, job: RunTask, data: FederatedData) -> Iterator[RunProgress]:
        """Runs a job and yields its progress."""
        news: SimpleQueue[RunProgress | None] = SimpleQueue()

        def work() -> None:
            try:
                with _Warnings(news.put):
                    attempt(job, data, news.put)
            finally:
                news.put(None)  # or the driver would wait for ever

        # Ray passes on what a generator yields; the round loop is none, so it has a thread.
        threading.Thread(target=work, daemon=True).start()
        while (one := news.get()) is not None:
            yield one


class _Reporter:
    """Observer that reports every round."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Reports the round before the first one."""
        self.report(RunProgress(first_round - 1, rounds))

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Reports the round, its score and the clients that failed in it."""
        from fedlab.runs.curves import learning_curves
        from fedlab.runs.metrics import followed_split

        first = strategy.settings.metrics.first
        history = to_frame(report.rows)
        split = followed_split(history)
        curves = learning_curves(history, first.name, split)
        said = "validation " * (split == "validation")
        score = (
            f"{said}{first.words} {float(curves.iloc[-1].mean(skipna=False)):.3f}"
            if len(curves)
            else ""
        )
        failures = [
            f"round {report.round}: {name} failed: {(why.strip().splitlines() or [''])[-1]}"
            for name, why in report.failures.items()
        ]
        self.report(RunProgress(report.round, report.rounds, score, failures))

    def on_end(self, strategy: RoundStrategy) -> None:
        """Nothing is left to report."""


class _Warnings(logging.Handler):
    """Context that reports fedlab's log records from WARNING on."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self.report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Reports one warning."""
        self.report(RunProgress(warnings=[record.getMessage()]))

    def __enter__(self) -> _Warnings:
        log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self)
