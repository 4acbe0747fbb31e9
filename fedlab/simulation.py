"""Runs of a scenario on this machine or a Ray cluster: prepare, simulate, resume."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from fedlab.data.data_checks import check_classes
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.round_workload import check_work, devices_of, work_per_round
from fedlab.engine.execution.runtime import local_half_class
from fedlab.engine.grid import ClientGrid
from fedlab.engine.model_check import checked_half
from fedlab.engine.rehearsal import rehearse
from fedlab.engine.start import check_resources, start_grid
from fedlab.errors import InputError, no_exit
from fedlab.features.base import ExtractionContext
from fedlab.federation.callbacks import Callback
from fedlab.partition.partition import Partition, make_partition, refuse_untested
from fedlab.privacy.privacy_checks import check_privacy
from fedlab.records import as_tensor
from fedlab.report.partition_table import write_table
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.execute import conduct
from fedlab.runs.fingerprint import fingerprint
from fedlab.runs.resume_check import refuse_changed, settled
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.server_app import refuse_hopeless_deadline, strategy_class
from fedlab.tracking.observer import check_trackers
from fedlab.virtual_time.device_population import Fleet

if TYPE_CHECKING:
    from fedlab.runs.checkpoint import Checkpoint

log = logging.getLogger("fedlab")


@dataclass(frozen=True)
class Prepared:
    """A scenario with everything that its clients need.

    Attributes:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        model: The initial network.
        fleet: The clients' devices; None where the scenario says nothing of them.
    """

    scenario: Scenario
    data: FederatedData
    partition: Partition
    model: nn.Module
    fleet: Fleet | None = None


@no_exit("a source, network or method of the scenario")
def divide(
    scenario: Scenario, load: Callable[[DataSpec], FederatedData] = load_data
) -> tuple[FederatedData, Partition]:
    """Loads the data and gives every client its own; asks no network.

    Args:
        scenario: The experiment.
        load: As for `prepare`.

    Raises:
        InputError: If the data cannot be read, or not divided so.
    """
    data = load(scenario.data)
    check_classes(data)
    return data, make_partition(scenario.partition, data, scenario.seed)


@no_exit("a source, network or method of the scenario")
def prepare(scenario: Scenario, load: Callable[[DataSpec], FederatedData] = load_data) -> Prepared:
    """Loads the data, divides them, builds the network, and checks that it all fits together.

    Features, where the scenario wants them, are computed here or found on disk.

    Args:
        scenario: The experiment.
        load: Gives its samples; what several runs share need not be loaded for each.

    Raises:
        InputError: If anything the scenario says cannot be done; nothing was started.
    """
    strategy = strategy_class(scenario)  # both may be refused: quicker said before the data
    local_half_class(scenario)
    data, partition = divide(scenario, load)
    if scenario.evaluation.fraction > 0:
        refuse_untested(partition)
    data = scenario.data.features.apply(ExtractionContext(scenario, data, partition))
    partition = scenario.strategy.regroup(partition)
    half = checked_half(scenario, data)
    model = half.task.model
    check_privacy(scenario, strategy, model, data, len(partition))
    inputs = as_tensor(data.train.inputs[:1])
    work = work_per_round(half, partition, scenario.training.batch_size, inputs)
    check_work(scenario, half, partition, work)
    rehearse(scenario, data, partition, half)
    fleet = None
    if scenario.devices.profiles:
        fleet = devices_of(scenario, data, partition, work)
        refuse_hopeless_deadline(scenario, model, fleet)
    return Prepared(scenario, data, partition, model, fleet)


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
            ``strategy`` and ``client`` (the local half) also take a class, even one that a
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
    with _shown(progress) as observers:
        prepared = prepare(scenario)
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
    beginning, but for schedules over all rounds (FixBN, FRAug, LDAM).

    Args:
        folder: The run's folder.
        overrides: What may change in the middle of a run, such as ``["rounds=100"]`` or
            ``["resources.backend=local"]``.
        callbacks: Observers of the run.
        progress: Whether to show how the run goes.

    Raises:
        InputError: If the folder is not a run, or one on real devices, or the overrides would make
            another run of it.
        RunError: If its checkpoints cannot be read, or the run fails again.
    """
    opened = RunFolder.open(Path(folder))
    run = load_run(opened.path)
    scenario = load_scenario(run.scenario, overrides) if overrides else run.scenario
    refuse_changed(settled(run.scenario), scenario, opened.scenario_file)
    if run.finished and (not overrides or scenario.rounds == run.rounds):
        return run
    if scenario.rounds < run.rounds:
        raise InputError(
            f"rounds={scenario.rounds} are fewer than the {run.rounds} that the run '{folder}' has "
            "done; name more, or start another run"
        )
    if opened.devices_file.is_file():
        raise InputError(
            f"the run '{folder}' is on real devices; go on with the `fedlab serve` that started it"
        )
    check_resources(scenario)
    check_trackers(scenario)
    with opened, _shown(progress) as observers:
        checkpoint = latest_checkpoint(opened.checkpoints)
        prepared = prepare(scenario)
        if overrides:
            opened.reopen(scenario)
        with _grid(prepared) as grid:
            return _run(prepared, grid, opened, checkpoint, [*observers, *callbacks])


def start_or_resume(
    prepared: Prepared, grid: ClientGrid, target: Path, callbacks: Sequence[Callback]
) -> Run:
    """Starts a run, or goes on with it where its folder says that it was interrupted.

    Args:
        prepared: What is run.
        grid: Answers for its clients; whoever made it closes it.
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
def _shown(progress: bool) -> Iterator[list[Callback]]:
    """The observers that show a run on the console, for as long as it takes."""
    if not progress:
        yield []
        return
    from rich.console import Console

    from fedlab.report.terminal.progress import ProgressReporter

    with ProgressReporter(Console(highlight=False)) as reporter:
        yield [reporter]


def _grid(prepared: Prepared) -> ClientGrid:
    grid, engine = start_grid(prepared.scenario, prepared.data, prepared.partition)
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
        write_table(prepared.partition, prepared.data, folder.path / "partition.csv")
    return conduct(
        prepared.scenario,
        prepared.model,
        grid,
        folder,
        checkpoint=checkpoint,
        test_domains=_domains_to_test(prepared),
        callbacks=callbacks,
        fleet=prepared.fleet,
        data=fingerprint(prepared.data),
    )


def _domains_to_test(prepared: Prepared) -> list[str]:
    """Domains on which the global model is tested in full.

    Where all clients test the global model itself, their test splits add up to the test sets of
    the domains they own, and only domains that nobody owns are left.
    """
    data, evaluation = prepared.data, prepared.scenario.evaluation
    if not evaluation.domains:
        return []
    if evaluation.fraction < 1:
        return list(data.domain_names)
    return [data.domain_names[index] for index in data.unseen_domains]
