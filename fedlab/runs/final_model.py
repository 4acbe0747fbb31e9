"""Writes the final model and the mark of a finished run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fedlab.federation.callbacks import RoundReport
from fedlab.files import write_whole
from fedlab.runs.run_folder import RunFolder
from fedlab.tensor_files import write_tensors

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy

ALIASES = "aliases"
"""The model file's note of aliases (tied weights): JSON, further name -> first name."""


class FinishWriter:
    """Observer that writes ``model.safetensors`` and ``finished.json`` when a run ends.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.rounds = 0
        self.chosen: int | None = None

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Sets the number of rounds done before."""
        self.rounds = first_round - 1

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Counts the round."""
        if report.concludes:
            self.chosen = report.round
        else:
            self.rounds = report.round

    def on_end(self, strategy: RoundStrategy) -> None:
        """Writes the server's tensors, then the mark."""
        aliases = dict(strategy.anatomy.aliases)
        notes = {ALIASES: json.dumps(aliases)} if aliases else {}
        ended = {"rounds": self.rounds}
        if self.chosen is not None:
            ended["chosen"] = self.chosen
        write_tensors(self.folder.model_file, strategy.saved(), notes)
        write_whole(self.folder.finished_file, json.dumps(ended) + "\n")
