"""Runs of a scenario on this machine or a Ray cluster: prepare, simulate, resume."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.config.scenario_diff import NO_RESULT, differences
from fedlab.data.remarks import log_remarks
from fedlab.engine.grid import ClientGrid
from fedlab.engine.start import check_resources, start_grid
from fedlab.errors import InputError
from fedlab.federation.callbacks import Callback
from fedlab.models.anatomy import anatomy_of
from fedlab.preparation import (
    Prepared,
    domains_to_test,
    last_test_of,
    prepare,
    with_pinned_data,
)
from fedlab.report.partition_table import write_table
from fedlab.runs.best_round import ended_by_patience
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.execute import conduct
from fedlab.runs.fingerprint import fingerprint
from fedlab.runs.resume_check import check_resumable, fixed_settings
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.tracking.observer import check_trackers

if TYPE_CHECKING:
    from fedlab.runs.checkpoint import Checkpoint

log = logging.getLogger("fedlab")


def simulate(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    **fields: Any,
) -> Run:
    """Runs a scenario.

    Args:
        source: A scenario, its file, or the name of one that comes with fedlab.
        overrides: Dotted overrides, such as ``["strategy.name=fedbn", "rounds=5"]``.
        out: Folder of this run; by default one inside ``output.dir``, named after the scenario,
            the strategy and the seed.
        callbacks: Observers of the run.
        progress: Whether to show how the run goes.
        **fields: Overrides of top-level fields, such as ``strategy="fedbn"`` or ``seed=3``.
            ``strategy`` and ``client`` (the client trainer) also take a class, even one that a
            notebook's cell defines.

    Returns:
        The finished run.

    Raises:
        InputError: If the scenario cannot be run; nothing was started.
        RunError: If the run fails; `resume` goes on from its last checkpoint.
    """
    scenario = load_scenario(source, overrides, **fields)
    target = Path(out) if out else default_folder(scenario)
    RunFolder.refuse_used(target)
    check_resources(scenario)
    check_trackers(scenario)
    scenario = with_pinned_data(scenario)
    with _shown(progress) as observers:
        prepared = _prepared(scenario)
        with _grid(prepared) as grid, RunFolder.create(target, scenario) as folder:
            return _run(prepared, grid, folder, None, [*observers, *callbacks])


def resume(
    folder: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Run:
    """Goes on with a run that was interrupted; a finished one is returned as it is.

    With more rounds, a finished run goes on, too. It ends as if it had been that long from the
    beginning, except for schedules over all rounds (FedDG-GA, FixBN, FRAug, LDAM,
    LLP-BP).

    Args:
        folder: The run's folder.
        overrides: What may change in the middle of a run, such as ``["rounds=100"]`` or
            ``["resources.backend=local"]``.
        callbacks: Observers of the run.
        progress: Whether to show how the run goes.

    Raises:
        InputError: If the folder is not a run, or one on real devices, or the overrides would make
            another run of it, or patience has ended it (``evaluation.patience``).
        RunError: If its checkpoints cannot be read, or the run fails again.
    """
    opened = RunFolder.open(Path(folder))
    run = load_run(opened.path)
    scenario = load_scenario(run.scenario, overrides) if overrides else run.scenario
    check_resumable(fixed_settings(run.scenario), scenario, opened.scenario_file)
    if run.finished and (not overrides or scenario.rounds == run.rounds):
        log_remarks(_too_late(run, scenario))
        return run
    if scenario.rounds < run.rounds:
        raise InputError(
            f"rounds={scenario.rounds} are fewer than the {run.rounds} that the run '{folder}' has "
            "done; name more, or start another run"
        )
    if ended := ended_by_patience(run):
        raise InputError(ended)
    if opened.devices_file.is_file():
        raise InputError(
            f"the run '{folder}' is on real devices; go on with the `fedlab serve` that started it"
        )
    check_resources(scenario)
    check_trackers(scenario)
    with opened, _shown(progress) as observers:
        checkpoint = latest_checkpoint(opened.checkpoints)
        prepared = _prepared(scenario)
        if scenario.output.owner_names != run.scenario.output.owner_names:
            write_table(prepared.partition, prepared.data, opened.partition_file)
        if overrides:
            opened.reopen(scenario)
        with _grid(prepared) as grid:
            return _run(prepared, grid, opened, checkpoint, [*observers, *callbacks])


def _too_late(run: Run, scenario: Scenario) -> list[str]:
    """Remarks on changes of a finished run, whose results they would have affected."""
    changed = [each.key for each in differences(run.scenario, scenario, ignore=NO_RESULT)]
    if not changed:
        return []
    return [
        f"{', '.join(changed)}: the run '{run.folder}' has finished, and the change has no effect "
        f"on it; add rounds={run.rounds + 1} or more to make it longer, or start another run"
    ]


def start_or_resume(
    prepared: Prepared, grid: ClientGrid, target: Path, callbacks: Sequence[Callback]
) -> Run:
    """Starts a run, or resumes it where its folder holds an interrupted one.

    Args:
        prepared: What is run.
        grid: The grid of its clients; the caller closes it.
        target: The run's folder.
        callbacks: Observers of the run.

    Raises:
        InputError: If the folder cannot be used.
        RunError: If the run fails.
    """
    is_there = RunFolder(target).scenario_file.is_file()
    opened = RunFolder.open(target) if is_there else RunFolder.create(target, prepared.scenario)
    with opened as folder:
        checkpoint = latest_checkpoint(folder.checkpoints)
        return _run(prepared, grid, folder, checkpoint, callbacks)


def default_folder(scenario: Scenario) -> Path:
    """Where a run is kept unless the user says otherwise."""
    strategy = scenario.strategy.name.replace(":", "-")
    return scenario.output.dir / f"{scenario.name}-{strategy}-s{scenario.seed}"


@contextmanager
def _shown(progress: bool) -> Generator[list[Callback]]:
    """Context with the observers that show a run on the console."""
    if not progress:
        yield []
        return
    from rich.console import Console

    from fedlab.report.terminal.progress import ProgressReporter

    with ProgressReporter(Console(highlight=False)) as reporter:
        yield [reporter]


def _prepared(scenario: Scenario) -> Prepared:
    """Prepares a run, and warns of results that it will not have."""
    prepared = prepare(scenario)
    log_remarks(filter(None, [last_test_of(prepared).remark]))
    return prepared


def _grid(prepared: Prepared) -> ClientGrid:
    grid, engine = start_grid(
        prepared.scenario, prepared.data, prepared.partition, anatomy_of(prepared.model).observed
    )
    log.info("%d clients %s", len(prepared.partition), engine)
    return grid


def _run(
    prepared: Prepared,
    grid: ClientGrid,
    folder: RunFolder,
    checkpoint: Checkpoint | None,
    callbacks: Sequence[Callback],
) -> Run:
    if checkpoint is None:  # before the first round, however the run was begun
        write_table(prepared.partition, prepared.data, folder.partition_file)
    return conduct(
        prepared.scenario,
        prepared.model,
        grid,
        folder,
        checkpoint=checkpoint,
        test_domains=domains_to_test(prepared.scenario, prepared.data, prepared.partition),
        callbacks=callbacks,
        fleet=prepared.fleet,
        data=fingerprint(prepared.data),
        passes=prepared.passes.numbers() if prepared.passes else {},
        held_out=prepared.partition.held_out.tolist(),
    )
