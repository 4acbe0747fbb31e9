"""Reads the runs in the folders that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.comparison_folder import PLAN
from fedlab.errors import InputError
from fedlab.runs.run_folder import RunFolder


def read_comparison(
    folders: Sequence[Path],
    *,
    target: float | None = None,
    mixed: bool = False,
    columns: Sequence[str] = (),
) -> Comparison:
    """The runs in folders, as a comparison.

    Args:
        folders: Folders of runs, folders that hold such, or one that `fedlab compare` made.
        target: An accuracy, between 0 and 1.
        mixed: Whether runs of different data or scenarios may stand side by side.
        columns: Further columns, as `Comparison.of` takes them.

    Raises:
        InputError: If a folder holds no run, or no run has finished and was evaluated.
    """
    if len(folders) == 1 and (folders[0] / PLAN).is_file():
        comparison = Comparison.open(folders[0], target=target, columns=columns)
    else:
        runs = [run for folder in folders for run in _runs(folder)]
        comparison = Comparison.of(runs, target=target, mixed=mixed, columns=columns)
    if not any(group.outcomes for group in comparison.groups):
        named = ", ".join(f"'{folder}'" for folder in folders)
        raise InputError(
            f"no run in {named} has finished with an evaluated round, so there is nothing to "
            "report; go on with `fedlab resume` (where runs test nothing, with more rounds and "
            "evaluation.fraction=1)"
        )
    return comparison


def _runs(folder: Path) -> list[Path]:
    """The folder itself if it is that of a run, else those in it."""
    if RunFolder(folder).scenario_file.is_file() or not folder.is_dir():
        return [RunFolder.open(folder).path]
    inner = sorted(file.parent for file in folder.glob("*/scenario.yaml"))
    if not inner:
        comparisons = sorted(str(file.parent) for file in folder.glob(f"*/{PLAN}"))
        remedy = (
            f"name one of the comparisons in it: {', '.join(comparisons)}"
            if comparisons
            else "name folders that `fedlab simulate` or `fedlab compare` made"
        )
        raise InputError(
            f"the folder '{folder}' holds no run (no scenario.yaml, nor in any folder in it); "
            f"{remedy}"
        )
    return inner
