"""Progress of the runs of a comparison on the console."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from fedlab.comparison.group import in_one_line
from fedlab.comparison.run_worker import RunProgress, RunTask
from fedlab.report.terminal.progress import Lines
from fedlab.report.units import duration

log = logging.getLogger("fedlab")
TALKATIVE = ("fedlab.comparison", "fedlab.features")
"""Loggers of which more than warnings is shown: features of many images take minutes."""


class ComparisonProgress:
    """A bar for all runs and one for each active run; without a terminal, lines.

    Use it as a context, so that the terminal is left in order when something fails.

    Args:
        console: Where to write.
        runs: Runs there are.
        left: Those that have not finished before.
    """

    def __init__(self, console: Console, runs: int, left: int) -> None:
        self.console = console
        self.runs = runs
        self.ended = runs - left
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=16),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.all = self.bar.add_task("", total=runs, completed=self.ended, name=f"{runs} runs")
        self.lines = Lines(console, once=True)
        self.tasks: dict[str, TaskID] = {}
        self.last: dict[str, RunProgress] = {}
        self.began: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def __enter__(self) -> ComparisonProgress:
        """Starts the display, and shows what comparisons and extractors of features log meanwhile.

        Of single runs, only warnings are shown otherwise.
        """
        self.bar.start()
        log.addHandler(self.lines)
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.INFO)
        if self.ended:
            self._say(f"{self.ended} of {self.runs} runs have finished before")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Removes the bars."""
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.NOTSET)
        log.removeHandler(self.lines)
        self.bar.stop()

    def on_progress(self, job: RunTask, news: RunProgress | None) -> None:
        """Shows the progress of a run; None says that it has ended."""
        if job.name not in self.began:
            self.began[job.name] = time.perf_counter()
            self.tasks[job.name] = self.bar.add_task("starting", total=None, name=f"  {job.name}")
        if news is None:
            self._end(job.name)
            return
        for text in news.warnings:
            if text not in self.lines.printed or text.startswith("round "):
                self._say(f"{job.name}: {text}", "yellow")
            self.lines.printed.add(text)
        if news.failure is not None:
            self.failed[job.name] = news.failure
        if news.rounds:
            score = news.score or self.last.get(job.name, RunProgress()).score
            self.last[job.name] = RunProgress(news.round, news.rounds, score)
            text = f"round {news.round}/{news.rounds}  {score}".rstrip()
            self.bar.update(
                self.tasks[job.name], total=news.rounds, completed=news.round, description=text
            )

    def _end(self, name: str) -> None:
        self.ended += 1
        self.bar.remove_task(self.tasks.pop(name))
        self.bar.update(self.all, completed=self.ended, description=f"{self.ended} ended")
        count = f"{self.ended:>{len(str(self.runs))}}/{self.runs}  {name}"
        spent = duration(time.perf_counter() - self.began[name])
        if name in self.failed:
            reason = in_one_line(self.failed[name])
            self._say(f"{count}  failed after {spent}: {reason}", "red")
        else:
            last = self.last.get(name, RunProgress())
            parts = [count, f"{last.rounds} rounds", last.score, spent]
            self._say("  ".join(filter(None, parts)))

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)
