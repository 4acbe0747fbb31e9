"""A changed model as a run of its own, which the remaining clients go on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.engine.execution.round_workload import work_per_round
from fedlab.files import write_whole
from fedlab.partition.partition import Partition, make_partition
from fedlab.records import Tensors
from fedlab.report.partition_table import write_table
from fedlab.runs.checkpoint import put_checkpoint
from fedlab.runs.fingerprint import fingerprint
from fedlab.runs.history import HistoryWriter
from fedlab.runs.resume_check import fixed_settings
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume
from fedlab.unlearning.request import Request

NOTE = "forgotten.json"
"""The file of a run's folder that says what was forgotten, and how."""


def retraining(asked: Request) -> Scenario:
    """The run's scenario without what is to be forgotten, of as many rounds as the run had."""
    name = asked.run.scenario.name[:70] + asked.suffix
    return load_scenario(asked.scenario, {"name": name, "rounds": asked.run.rounds})


def recovery(asked: Request, method: str, rounds: int) -> Scenario:
    """The scenario of the run that goes on from a changed model.

    Args:
        asked: What is to be forgotten.
        method: How.
        rounds: Rounds of recovery.
    """
    done = asked.run.rounds
    words = (
        f"The run '{asked.run.folder.name}' after round {asked.model_round}, from which {method} "
        f"has taken {asked.words}; the rounds from {done + 1} on are without it."
    )
    changes = {"rounds": done + rounds, "description": words}
    return load_scenario(retraining(asked), changes)


def partition_of(asked: Request, scenario: Scenario) -> Partition:
    """Who has which of the run's samples under a scenario.

    Args:
        asked: What is to be forgotten.
        scenario: From `retraining` or `recovery`.
    """
    data, share = asked.trained.runtime.data, scenario.evaluation.validation_share
    divided = make_partition(scenario.partition, data, scenario.seed, share)
    return scenario.strategy.reassign(divided)


def steps_left(asked: Request) -> dict[int, float]:
    """Steps in a round of a client that keeps samples, by its index; of others none."""
    if asked.samples is None:
        return {}
    runtime, partition = asked.trained.runtime, partition_of(asked, retraining(asked))
    size = runtime.scenario.training.batch_size
    samples = runtime.client_data(asked.client).inputs[:1]
    work = work_per_round(runtime.trainer, partition, size, samples)
    return {asked.client: float(work.steps[asked.client])}


def recover(
    asked: Request,
    state: Tensors,
    scenario: Scenario,
    folder: Path,
    note: Mapping[str, Any],
    progress: bool,
) -> Run:
    """Trains a changed model with the remaining clients, in a folder of its own.

    The folder is that of a run which was interrupted after the last round of the old one; an
    interrupted recovery goes on with `fedlab resume`.

    Args:
        asked: What is to be forgotten.
        state: The server's tensors after it was.
        scenario: From `recovery`.
        folder: The folder of the new run.
        note: What `NOTE` says.
        progress: Whether to show how the rounds go.

    Raises:
        InputError: If the folder cannot be used.
        RunError: If the rounds fail.
    """
    RunFolder.refuse_used(folder)
    # Under another name until its checkpoint is there: a run without one would start at round 1.
    begun = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(begun, ignore_errors=True)
    runtime = asked.trained.runtime
    with RunFolder.create(begun, scenario) as made:
        write_table(partition_of(asked, scenario), runtime.data, made.partition_file)
        write_whole(made.path / NOTE, json.dumps(note, indent=2) + "\n")
        made.checkpoints.mkdir()
        put_checkpoint(
            made.checkpoints,
            asked.run.rounds,
            {"arrays": {name: tensor.cpu() for name, tensor in state.items()}},
            history=HistoryWriter(made.path).sync(),
            fixed_settings=fixed_settings(scenario),
            data=fingerprint(runtime.data),
        )
    begun.rename(folder)
    return resume(folder, progress=progress)
