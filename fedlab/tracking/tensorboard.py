"""TensorBoard: event files in the run's folder, which ``tensorboard --logdir runs`` shows live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedlab.scenario_file import to_yaml
from fedlab.tracking.base import Tracker, TrackerParameters

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from fedlab.config.experiment import Experiment


class TensorBoard(Tracker):
    """Curves in TensorBoard, written to the folder ``tensorboard`` of the run."""

    class Parameters(TrackerParameters):
        """TensorBoard has no further parameters."""

        name: Literal["tensorboard"] = "tensorboard"

    package = "tensorboard"
    install = 'pip install "fedlab-sim[track]"'
    writer: SummaryWriter

    def start(self, folder: Path, scenario: Experiment, first_round: int) -> None:
        """Opens an event file; TensorBoard drops what earlier ones have from `first_round` on."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(folder / "tensorboard", purge_step=first_round)
        if first_round == 1:
            self.writer.add_text("scenario", f"```yaml\n{to_yaml(scenario)}```")

    def log(self, round: int, numbers: Mapping[str, float]) -> None:
        """Writes the round's numbers; they are on disk when this returns."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, round)
        self.writer.flush()

    def finish(self) -> None:
        """Closes the file."""
        self.writer.close()
