"""Run folders with numbers that were never computed, for tests of what is made of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fedlab.federation.callbacks import RoundReport
from fedlab.row import GLOBAL, Row
from fedlab.runs.history import HistoryWriter
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario_file import load_scenario

STRATEGY: Any = SimpleNamespace(state={})


def rows_of(number: int, clients: Mapping[str, Sequence[float]], examples: int = 10) -> list[Row]:
    """Test rows of a round: accuracies of the clients of each domain, and 1000 bytes a way."""
    tested: list[Row] = []
    for domain, values in clients.items():
        for value in values:
            tested.append(Row(number, len(tested), domain, "test", "accuracy", value, examples))
    traffic = [
        Row(number, GLOBAL, "", "round", f"bytes_{way}", 1000.0, 0) for way in ("up", "down")
    ]
    return [*tested, *traffic]


def make_run(
    folder: Path,
    scenario: Any,
    rounds: Sequence[Mapping[str, Sequence[float]]],
    *,
    finished: bool = True,
    virtual: float | None = None,
    trained: Mapping[int, tuple[int, int]] | None = None,
    parameters: int | None = None,
    **changes: Any,
) -> Run:
    """A run whose clients had these accuracies in each round, which took two seconds.

    Args:
        folder: Where to put it.
        scenario: What `load_scenario` takes.
        rounds: For each round, the accuracies of the clients of each domain.
        finished: Whether it has ended.
        virtual: Virtual seconds of each round, if it is on devices.
        trained: Samples and steps of the clients that trained in every round, if recorded.
        parameters: Parameters that a client trains, if recorded.
        **changes: Top-level fields of the scenario.
    """
    changed = load_scenario(scenario, **changes)
    made = RunFolder.create(folder, changed)
    writer = HistoryWriter(made.path)
    writer.on_start(STRATEGY, 1, len(rounds))
    for number, clients in enumerate(rounds, start=1):
        seconds = {"train": 1.5, "evaluate": 0.5}
        rows = rows_of(number, clients)
        if virtual is not None:
            rows.append(Row(number, GLOBAL, "", "round", "virtual_seconds", virtual, 0))
        for client, (samples, steps) in (trained or {}).items():
            metrics = {"loss": 1.0, "steps": float(steps)}
            rows += [Row(number, client, "", "train", m, v, samples) for m, v in metrics.items()]
        if trained is not None:
            rows.append(Row(number, GLOBAL, "", "round", "clients", len(trained), 0))
        writer.on_round(STRATEGY, RoundReport(number, len(rounds), rows, seconds))
    if parameters is not None:
        made.workload_file.write_text(json.dumps({"parameters": parameters}))
    if finished:
        made.finished_file.write_text(json.dumps({"rounds": len(rounds)}))
    return load_run(folder)
