"""The plan of a tuning, stored in its folder so that the same command resumes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.config import yaml_text
from fedlab.errors import InputError
from fedlab.files import write_whole

PLAN = "tuning.yaml"

MAY_CHANGE = {"budget", "methods"}
"""More draws, or another method, only add runs."""


def refuse_another_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Refuses a folder that holds another tuning.

    Raises:
        InputError: With what differs.
    """
    file = folder / PLAN
    if file.is_file():
        there = yaml_text.read(file.read_text(encoding="utf-8"), str(file), bounded=False)[0]
        now = yaml_text.read(yaml_text.write(dict(plan)), PLAN, bounded=False)[0]
        changed = [key for key in now if key not in MAY_CHANGE and there.get(key) != now[key]]
        if changed:
            key = changed[0]
            raise InputError(
                f"the folder '{folder}' holds a tuning with another {key} ({there.get(key)}, and "
                f"now {now[key]}); choose another folder with --out, or ask for the same"
            )


def keep_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Writes the plan.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PLAN, yaml_text.write(dict(plan)))
    except OSError as error:
        raise InputError(
            f"the folder '{folder}' cannot be written: {error.strerror or error}; "
            "choose another with --out"
        ) from error


def read_plan(folder: Path) -> Mapping[str, Any]:
    """The plan in a folder.

    Raises:
        InputError: If there is none.
    """
    file = folder / PLAN
    if not file.is_file():
        raise InputError(
            f"the folder '{folder}' holds no tuning (no {PLAN}); name one that `fedlab tune` made"
        )
    return yaml_text.read(file.read_text(encoding="utf-8"), str(file), bounded=False)[0]
