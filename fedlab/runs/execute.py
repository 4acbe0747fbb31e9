"""Executes a run from its first round, or from a checkpoint, to its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flwr.app import RecordDict
from torch import nn

from fedlab import rng
from fedlab.engine.execution.mode import ExecutionPlan
from fedlab.engine.grid import ClientGrid
from fedlab.errors import no_exit
from fedlab.federation.callbacks import Callback
from fedlab.flower_compat import client_context
from fedlab.models.per_client import PerClient
from fedlab.runs.checkpoint import CheckpointWriter, client_files
from fedlab.runs.divergence import DivergenceWarning
from fedlab.runs.final_model import FinishWriter
from fedlab.runs.fingerprint import refuse_other_data
from fedlab.runs.history import HistoryWriter
from fedlab.runs.resume_check import check_resumable, fixed_settings
from fedlab.runs.run import Run, load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.runs.selection import ValidationObserver
from fedlab.runs.workload_file import WorkloadWriter
from fedlab.scenario import Scenario
from fedlab.server_app import build_server_app
from fedlab.tracking.observer import trackers
from fedlab.virtual_time.device_population import DevicePopulation

if TYPE_CHECKING:
    from fedlab.runs.checkpoint import Checkpoint


def conduct(
    scenario: Scenario,
    model: nn.Module,
    grid: ClientGrid,
    folder: RunFolder,
    *,
    checkpoint: Checkpoint | None = None,
    test_domains: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    fleet: DevicePopulation | None = None,
    data: Mapping[str, Any] = MappingProxyType({}),
    held_out: Sequence[int] = (),
    passes: Mapping[str, float] = MappingProxyType({}),
) -> Run:
    """Runs a scenario's ServerApp on a grid and writes the run's folder.

    Args:
        scenario: The experiment.
        model: The initial network.
        grid: Sends messages to the clients.
        folder: The run's folder, locked by this process.
        checkpoint: The checkpoint to resume from; None starts at round 1.
        test_domains: Domains on whose whole test sets the global model is tested.
        callbacks: Further observers of the run.
        fleet: The clients' devices, for virtual time; None without.
        data: Fingerprint of the samples, where they are here (see `fedlab.runs.fingerprint`).
        held_out: Clients that never train.
        passes: What a round asks of a client's network, by name, as far as that is known.

    Raises:
        InputError: If the scenario, or the data, are not those that the checkpoint was made with.
        RunError: If the run fails.
    """
    if checkpoint is not None:
        check_resumable(checkpoint.fixed_settings, scenario, folder.scenario_file)
        refuse_other_data(checkpoint.data, data, folder.path)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    history = HistoryWriter(folder.path)
    history.truncate(checkpoint.history if checkpoint else {})
    if checkpoint is not None:
        grid.import_states(checkpoint.client_records())
        if checkpoint.execution and scenario.engine.is_timed:  # a new timing may choose otherwise
            grid.choice = ExecutionPlan(**checkpoint.execution)
            logging.getLogger("fedlab").info("training %s, as before", grid.choice)
    writer = CheckpointWriter(
        folder.checkpoints,
        grid,
        history,
        scenario.output.checkpoint_every,
        client_files(folder.checkpoints, checkpoint.round) if checkpoint else {},
        fixed_settings(scenario),
        data,
    )
    # Trackers get a round before its checkpoint is written: a round that a crash keeps from them
    # is then always one that will be trained again.
    observers: list[Callback] = [history, *trackers(scenario, folder.path)]
    validation = None
    if scenario.evaluation.validation is not None:
        validation = ValidationObserver(scenario, folder.path, writer, grid)
        observers.append(validation)
    first_round = checkpoint.round + 1 if checkpoint else 1
    if validation is not None and validation.exhausted:
        scenario = scenario.model_copy(update={"rounds": first_round - 1})
    shared = None if isinstance(scenario.model, PerClient) else model
    observers += [
        writer,
        WorkloadWriter(folder, shared, passes, _counted(scenario)),
        FinishWriter(folder),
        DivergenceWarning(),
    ]
    app = build_server_app(
        scenario,
        model,
        test_domains=test_domains,
        callbacks=[*observers, *callbacks],
        first_round=first_round,
        state=checkpoint.server if checkpoint else None,
        fleet=fleet,
        selection=validation,
        held_out=held_out,
    )
    with rng.preserved(), no_exit("the strategy, or an observer of the run,"):
        app(grid=grid, context=client_context(0, 0, grid.clients, RecordDict()))
    return load_run(folder.path)


def _counted(scenario: Scenario) -> dict[str, int]:
    """Numbers of natural clients, which depend on the data; empty where the scenario has them."""
    block = scenario.partition
    if isinstance(block.clients, int):
        return {}
    clients = block.number_of_clients
    return {"clients": clients, "held_out": clients - block.training_clients}
