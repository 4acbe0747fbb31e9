"""Trackers as observers of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.config import registry
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.metrics.metric_set import LOSS
from fedlab.runs import metrics
from fedlab.runs.history import read_history
from fedlab.tracking.base import Tracker
from fedlab.tracking.scalar_values import numbers_of

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy
    from fedlab.scenario import Scenario

log = logging.getLogger("fedlab")


class TrackingObserver:
    """Observer that passes a run's numbers on to one tracker.

    A tracker that raises causes one warning and is left out from then on: a server that cannot be
    reached must not cost a night of training.

    Args:
        tracker: Where the numbers go.
        folder: The run's folder.
        scenario: What is run.
    """

    def __init__(self, tracker: Tracker, folder: Path, scenario: Scenario) -> None:
        self.tracker: Tracker | None = tracker
        self.folder = folder
        self.scenario = scenario
        self.trained: set[int] = set()

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Starts the tracker."""
        if first_round > 1:
            done = read_history(self.folder)
            self.trained |= metrics.trained_clients(done, first_round - 1) or set()
        self._call(lambda tracker: tracker.start(self.folder, self.scenario, first_round))

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Passes the numbers of the round on."""
        places = ((row.split, row.metric, row.client) for row in report.rows)
        self.trained |= {client for *what, client in places if what == ["train", LOSS]}
        scores = self.scenario.metric_set.scores.values()
        numbers = numbers_of(report, self.trained or None, tuple(scores))
        self._call(lambda tracker: tracker.log(report.round, numbers))

    def on_end(self, strategy: RoundStrategy) -> None:
        """Finishes the tracker."""
        self._call(lambda tracker: tracker.finish())

    def _call(self, message: Callable[[Tracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            message(self.tracker)
        except Exception as error:  # a tracker may raise anything, as on network failures
            log.warning(
                "the tracker '%s' fails and is left out: %r", self.tracker.parameters.name, error
            )
            self.tracker = None


def check_trackers(scenario: Scenario) -> None:
    """Refuses trackers that cannot work here.

    Raises:
        InputError: If one is no tracker, or lacks a package; nothing was started.
    """
    for block in scenario.output.trackers:
        _class(block.name).check(block)


def trackers(scenario: Scenario, folder: Path) -> list[TrackingObserver]:
    """The scenario's trackers as observers of the run in a folder."""
    return [
        TrackingObserver(_class(block.name)(block), folder, scenario)
        for block in scenario.output.trackers
    ]


def _class(name: str) -> type[Any]:
    tracker = registry.resolve("trackers", name)
    if not (isinstance(tracker, type) and issubclass(tracker, Tracker)):
        raise InputError(
            f"output.trackers: '{name}' is no subclass of fedlab.tracking.base.Tracker; name the "
            "tracker, which has its parameters as its Parameters"
        )
    return tracker
