"""The interface of an experiment tracker.

A tracker gets the numbers of every round while a run is under way. It cannot change the run: it
gets plain numbers, and where it fails the run goes on without it.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedlab.config.component import Component
from fedlab.errors import InputError

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class TrackerParameters(Component):
    """The keys that all trackers have; a tracker's `Parameters` adds its own."""

    group: ClassVar[str] = "trackers"


class Tracker(ABC):
    """Follows one run.

    A subclass says where the numbers go; a key in ``output.trackers`` is a field of its
    `Parameters`.

    Args:
        parameters: Its block in the scenario.
    """

    Parameters: ClassVar[type[TrackerParameters]] = TrackerParameters
    package: ClassVar[str] = ""
    """A module that must be installed, if any; a missing one is an error before training."""
    install: ClassVar[str] = ""
    """What brings it, where that is more than ``pip install`` and its name."""

    def __init__(self, parameters: TrackerParameters) -> None:
        self.parameters = parameters

    @abstractmethod
    def start(self, folder: Path, scenario: Experiment, first_round: int) -> None:
        """Opens the place that the numbers go to.

        Args:
            folder: The run's folder; its name is that of the run, and stays when it is resumed.
            scenario: What is run.
            first_round: The first round that will be logged: 1, or where a stopped run goes on.
                Numbers of this and later rounds must be deleted: they are trained again.
        """

    @abstractmethod
    def log(self, round: int, numbers: Mapping[str, float]) -> None:
        """Logs the numbers of a round, by names such as ``accuracy/worst_client``.

        Which names there are is said by `fedlab.tracking.scalar_values.numbers_of`.
        """

    @abstractmethod
    def finish(self) -> None:
        """Closes it, after the last round; not called where a run fails or is stopped."""

    @classmethod
    def check(cls, parameters: TrackerParameters) -> None:
        """Refuses a tracker that cannot work, before anything is trained.

        Raises:
            InputError: If a package is missing.
        """
        if cls.package and not _is_installed(cls.package):
            remedy = cls.install or f"pip install {cls.package}"
            raise InputError(
                f"output.trackers: '{parameters.name}' needs the package {cls.package}, which is "
                f"not installed; run {remedy}, or leave it out"
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that the module would be in
        return False
