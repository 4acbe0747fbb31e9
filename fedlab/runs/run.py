"""A run with its numbers, figures and network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.runs.run_folder import RunFolder
from fedlab.runs.run_record import RunRecord
from fedlab.scenario_file import load_scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn


class Run(RunRecord):
    """A run, finished or not.

    Attributes:
        folder: Its folder.
        scenario: What was run.
    """

    def plot(self, metric: str | None = None) -> Figure:
        """Learning curves: a line for each domain, and one for their mean.

        Args:
            metric: A metric of ``evaluation.metrics``; by default the first.

        Raises:
            InputError: If no round was evaluated yet.
        """
        from fedlab.report.figures.learning_curves import run_figure

        return run_figure(self, metric)

    def model(self, client: int | None = None) -> nn.Module:
        """The trained network as a module that takes raw samples.

        Images are uint8 of the scenario's size; what prepares them (normalisation, a frozen
        network) is part of the module, which is in evaluation mode. It needs the run's data.

        Args:
            client: A client, for its own model; by default the global one.

        Returns:
            A module of samples, shape (n, ...), to logits, shape (n, classes).

        Raises:
            InputError: If the run has not finished, or has no such model.
        """
        from fedlab.export.original import Original

        program, _ = Original.of(self, client).program(whole=True)
        return program

    def _repr_html_(self) -> str:
        """The run as HTML for notebooks."""
        from fedlab.report.notebook import run_html

        return run_html(self)


def load_run(folder: str | Path) -> Run:
    """Opens a run's folder.

    Raises:
        InputError: If it holds no run.
    """
    opened = RunFolder.open(folder)
    return Run(opened.path, load_scenario(opened.scenario_file))
