"""Progress of a run on the console."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from fedlab.federation.callbacks import RoundReport
from fedlab.metrics.metric_set import ACCURACY_SCORE, LOSS, Score
from fedlab.report.facts import LONGEST
from fedlab.report.units import duration, number_or_dash, short
from fedlab.runs import metrics
from fedlab.runs.history import to_frame

if TYPE_CHECKING:
    import pandas

    from fedlab.federation.round_strategy import RoundStrategy

FAILURES_SHOWN = 3
logger = logging.getLogger("fedlab")


class Lines(logging.Handler):
    """Prints fedlab's log records between the lines of the progress.

    Args:
        console: Where to write.
        once: Leaves out what has been printed before, as where several runs have the same data.
    """

    def __init__(self, console: Console, once: bool = False) -> None:
        super().__init__()
        self.console = console
        self.once = once
        self.printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        if self.once and record.getMessage() in self.printed:
            return
        self.printed.add(record.getMessage())
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self.console.print(Text(record.getMessage(), style=style), soft_wrap=True)


class ProgressReporter:
    """Observer that shows a bar on a terminal, and a line per evaluated round elsewhere.

    Use it as a context, so that the terminal is left in order when the run fails.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[rounds]}"),
            BarColumn(bar_width=16),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("preparing", total=None, rounds="")
        self.scores = ""
        self.lines = Lines(console)
        self.began = self.lap = time.perf_counter()
        self.done = 0

    def __enter__(self) -> ProgressReporter:
        """Starts the display, and shows fedlab's log records meanwhile."""
        self.bar.start()
        logger.addHandler(self.lines)
        logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Removes the bar."""
        logger.removeHandler(self.lines)
        self.bar.stop()

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Starts the clock."""
        to_frame(())  # imports pandas, whose second must not count as the first round's
        self.began = self.lap = time.perf_counter()
        self.bar.update(
            self.task,
            total=rounds,
            completed=first_round - 1,
            description="",
            rounds=f"round {first_round - 1}/{rounds}",
        )

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Shows the round."""
        if report.concludes:
            self._conclude(strategy, report)
            return
        now = time.perf_counter()
        spent, self.lap = now - self.lap, now
        self.done += 1
        left = duration((now - self.began) / self.done * (report.rounds - report.round))
        number = f"round {report.round:>{len(str(report.rounds))}}/{report.rounds}"
        history = to_frame(report.rows)
        evaluated = bool(history["split"].isin(["test", "validation"]).any())
        if evaluated:
            self.scores = scores(history, report.round, strategy.settings.metrics.first)
        self._print_failures(report)
        if evaluated and not self.console.is_terminal:
            loss = _training_loss(history, report.round)
            clock = f"virtual {duration(strategy.clock.now)}" if strategy.clock else ""
            words = [number, self.scores, loss, duration(spent), f"eta {left}", clock]
            self.console.print("  ".join(filter(None, words)), soft_wrap=True, highlight=False)
        self.bar.update(
            self.task,
            completed=report.round,
            description="  ".join(filter(None, [self.scores, f"{left} left"])),
            rounds=number,
        )

    def on_end(self, strategy: RoundStrategy) -> None:
        """Removes the bar."""
        self.bar.stop()

    def _conclude(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Prints the test of the round that was chosen on validation."""
        test_scores = scores(to_frame(report.rows), report.round, strategy.settings.metrics.first)
        self._print_failures(report)
        words = f"the run's model is that of round {report.round}; its test: {test_scores}"
        self.console.print(words, soft_wrap=True, highlight=False)

    def _print_failures(self, report: RoundReport) -> None:
        failures = list(report.failures.items())
        for name, reason in failures[:FAILURES_SHOWN]:
            lines = reason.strip().splitlines() or ["no reason given"]
            self._warn(f"round {report.round}: {name} failed: {lines[-1]}")
        if failures[FAILURES_SHOWN:]:
            self._warn(f"round {report.round}: {len(failures) - FAILURES_SHOWN} more failed")

    def _warn(self, text: str) -> None:
        self.console.print(Text(text, style="yellow"), soft_wrap=True)


def scores(history: pandas.DataFrame, number: int, score: Score = ACCURACY_SCORE) -> str:
    """The first metric of a round: its mean over domains, as in the closing table, and the worst.

    The worst is a client where clients were tested, and a domain elsewhere.
    """
    split = metrics.followed_split(history)
    value = metrics.mean_over_domains(history, number, score.name, split)
    mean = f"{score.words} {number_or_dash(value)}"
    if split == "validation":
        mean = f"validation {mean}"
    spread = metrics.spread(metrics.by_client(history, number, score.name, split), None, score)
    if spread:
        return f"{mean}  worst {spread.worst:.2f} ({short(spread.worst_domain, LONGEST)})"
    domains = metrics.by_domain(history, number, score.name, split)["global_value"].dropna()
    if domains.empty:
        return mean
    worst = (score.sign * domains).idxmin()
    return f"{mean}  worst {domains[worst]:.2f} ({worst})"


def _training_loss(history: pandas.DataFrame, number: int) -> str:
    """Mean of the clients' training losses, by examples."""
    losses = metrics.by_client(history, number, LOSS, "train")
    if losses.empty:
        return ""
    products = losses["value"] * losses["examples"]
    return f"loss {products.sum(skipna=False) / losses['examples'].sum():.3g}"
