"""The same methods in several scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from fedlab.comparison.compare import (
    check_groups,
    checked_parallel,
    plan_comparison,
    refuse_untested,
    shown,
)
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.launch import memory_of_data
from fedlab.comparison.suite import Suite
from fedlab.engine.ray.session import session
from fedlab.errors import InputError
from fedlab.metrics.metric_set import LOSS
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario


def compare_scenarios(
    sources: Sequence[str | Path | Mapping[str, Any] | Scenario],
    strategies: Sequence[Any] | Any,
    seeds: int | Sequence[int] = 5,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    out: str | Path | None = None,
    columns: Sequence[str] = (),
    max_parallel: int | None = None,
    progress: bool | Console = True,
    **fields: Any,
) -> Suite:
    """Compares methods in several scenarios, one after the other, and puts them into one table.

    Args:
        sources: Scenarios, their files, or names of those that come with fedlab.
        strategies: Methods, as `compare` takes them; the same in all scenarios.
        seeds: How many (from 0), or which.
        overrides: Changes for all runs.
        out: Folder of all comparisons, which are inside it by the scenarios' names; by default
            ``suite`` inside ``output.dir``.
        columns: Further columns of each scenario's own table, as `compare` takes them.
        max_parallel: Runs at the same time, at most.
        progress: Whether to show how it goes, or the console to show it on.
        **fields: Changes of top-level fields for all runs.

    Raises:
        InputError: If any of the runs cannot be done, two scenarios have one name, or their first
            metrics differ; nothing was started.
    """
    max_parallel = checked_parallel(max_parallel, fields)
    given = list(strategies) if isinstance(strategies, list | tuple) else [strategies]
    if not [each for each in given if each]:
        raise InputError("strategies: several scenarios are compared by methods; name them")
    loaded = [load_scenario(each, overrides, **fields) for each in sources]
    names = [each.name for each in loaded]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"scenarios: two are called {double}; give one of them another name")
    _refuse_other_metrics(loaded)
    folder = Path(out) if out else loaded[0].output.dir / "suite"
    with session():
        ready = {
            name: plan_comparison(
                source, strategies, seeds, overrides, {}, folder / name, None, columns, fields
            )
            for name, source in zip(names, sources, strict=True)
        }
        for each in ready.values():
            with shown(progress, len(each.planned), len(each.left())):
                check_groups(each.left(), memory_of_data(), refuse_untested)
        found: dict[str, Comparison] = {}
        for name, each in ready.items():
            with shown(progress, len(each.planned), len(each.left())) as watch:
                found[name] = each.run(memory_of_data(), watch, max_parallel)
    return Suite.of(found)


def _refuse_other_metrics(scenarios: Sequence[Scenario]) -> None:
    """Refuses scenarios whose first metrics differ, before anything is trained.

    Raises:
        InputError: If their first metrics differ, with one that all can begin with.
    """
    first = scenarios[0]
    for other in scenarios[1:]:
        ours, theirs = first.metric_set.first, other.metric_set.first
        if ours != theirs:
            raise InputError(
                f"scenarios: {first.name} is scored by {ours.name} and {other.name} by "
                f"{theirs.name}; begin evaluation.metrics with the same in all, such as "
                f"{LOSS}, which all have (evaluation.metrics=[{LOSS}])"
            )
