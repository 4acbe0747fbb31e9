"""The commands of fedlab that run a study, and the one that repeats a single row of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.evidence.claim import Claim, Study

ALONE = ("resources.backend=local",)
"""One process and one thread."""


def tune_command(claim: Claim, study: Study, root: str | None, folder: Path) -> list[str]:
    """``fedlab tune`` for a study, whose space is written into its folder.

    Args:
        claim: The claim.
        study: One of its studies, which tunes.
        root: The folder of its data, where it needs one.
        folder: Where runs go; the file with the space is put beside it.
    """
    space = folder.with_name(f"{folder.name}-space.yaml")
    space.parent.mkdir(parents=True, exist_ok=True)
    space.write_text(yaml.safe_dump(space_of(claim, study)), "utf-8")
    return [
        "tune",
        study.scenario,
        *changes(study, root),
        *_strategies(study.methods.values()),
        "--budget",
        str(claim.budget),
        "--seeds",
        seeds(claim),
        "--select",
        claim.select,
        "--space",
        str(space),
        "--max-parallel",
        "1",
        "--out",
        str(folder),
    ]


def compare_command(
    claim: Claim,
    study: Study,
    method: str,
    values: Mapping[str, Any],
    root: str | None,
    folder: Path,
) -> list[str]:
    """``fedlab compare`` for one method of a study, with values that were chosen elsewhere."""
    own = {key: value for key, value in values.items() if key.startswith("strategy.")}
    others = {key: value for key, value in values.items() if key not in own}
    words = [f"{key.removeprefix('strategy.')}={_text(value)}" for key, value in own.items()]
    return [
        "compare",
        study.scenario,
        *changes(study, root),
        *_written(others),
        *_strategies([" ".join([method, *words])]),
        "--seeds",
        seeds(claim),
        "--max-parallel",
        "1",
        "--out",
        str(folder),
    ]


def sets_aside(claim: Claim, study: Study) -> bool:
    """Whether tuning sets a share of the samples aside for a study, in its compared runs, too.

    It does to choose by validation. Where domains that are left out choose, and where another study
    has chosen, clients train on all of their samples.
    """
    return claim.select == "validation" and study.chosen_in is None


def row_command(
    study: Study, method: str, values: Mapping[str, Any], seed: int, aside: bool
) -> str:
    """The command that repeats one row, as one types it.

    Args:
        study: The study.
        method: The method, with its parameters.
        values: What was chosen for it.
        seed: The row's seed.
        aside: Whether a share of the samples is set aside (`sets_aside`).
    """
    name, *written = method.split(" ")
    changed = [f"strategy.name={name}", *(f"strategy.{word}" for word in written)]
    kept = ["evaluation.validation=0.2"] if aside else []
    words = ["fedlab", "simulate", study.scenario, *changes(study, study.root), *changed]
    words += [
        *_written(values),
        *kept,
        f"seed={seed}",
        "--out",
        f"runs/{study.name}-{name}-{seed}",
    ]
    return shlex.join(words)


def space_of(claim: Claim, study: Study) -> dict[str, Any]:
    """The space of a study, in the form of its file."""
    own = claim.space.get("own", {})
    if own == "nothing":
        own = {method.split(" ")[0]: {} for method in study.methods.values()}
    return {"shared": claim.space["shared"], "own": own}


def changes(study: Study, root: str | None) -> list[str]:
    """All overrides of a study, ``key=value`` each."""
    where = [] if study.root is None else [f"data.root={root}"]
    return [*where, *_written(study.overrides), *ALONE]


def seeds(claim: Claim) -> str:
    """The seeds as ``--seeds`` takes them."""
    return ",".join(map(str, range(claim.seeds))) if claim.seeds > 1 else "1"


def _strategies(methods: Sequence[str] | Any) -> list[str]:
    return [word for method in methods for word in ("--strategies", method)]


def _written(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_text(value)}" for key, value in values.items()]


def _text(value: Any) -> str:
    """A value of YAML in a line."""
    return value if isinstance(value, str) else json.dumps(value)
