"""The end of a run: the model, and the mark that nothing is left to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fedlab.federation.callbacks import RoundReport
from fedlab.files import write_whole
from fedlab.runs.run_folder import RunFolder
from fedlab.runs.tensors import write_tensors

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy

ALIASES = "aliases"
"""The model's note of further names of its tensors (tied weights): JSON, the first name by each."""


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
        """Remembers what is done already."""
        self.rounds = first_round - 1

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Counts the round."""
        if report.concludes:
            self.chosen = report.round
        else:
            self.rounds = report.round

    def on_end(self, strategy: RoundStrategy) -> None:
        """Writes the server's tensors, and after them the mark."""
        aliases = dict(strategy.anatomy.aliases)
        notes = {ALIASES: json.dumps(aliases)} if aliases else {}
        ended = {"rounds": self.rounds}
        if self.chosen is not None:
            ended["chosen"] = self.chosen
        write_tensors(self.folder.model_file, strategy.saved(), notes)
        write_whole(self.folder.finished_file, json.dumps(ended) + "\n")
