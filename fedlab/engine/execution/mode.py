"""The choice between training a cohort's clients one by one and in stacks.

Both give the same numbers up to rounding. The choice follows from a rule, so that the same
scenario, seed and machine give the same bytes; with ``measured``, it follows from one timing, which
is stored.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from fedlab import accelerator
from fedlab.clients.base import ClientTrainer
from fedlab.data import array_cache
from fedlab.engine.execution.captured.capturable import CAPTURING, why_not
from fedlab.engine.execution.passes import BatchSize
from fedlab.files import write_whole
from fedlab.models.layers import only_dense
from fedlab.scenario import EngineSpec, Scenario

MOST = 32
"""Largest number of clients in a stack: more gain little and leave other processes idle."""

FEWEST = 8
"""Number of clients from which a stack is faster than one client after another on a CPU."""

CACHES, ACCELERATOR_MEMORY = 16 * 2**20, 2 * 2**30
"""Largest size of a stack's parameters in bytes: a CPU's caches, or a part of a GPU's memory."""


class ExecutionPlan(NamedTuple):
    """How clients are executed.

    Attributes:
        stack: Largest number of clients in a stack; 1 is one by one.
        reason: The reason of the choice, in words.
    """

    stack: int
    reason: str

    def __str__(self) -> str:
        how = f"up to {self.stack} clients as one" if self.stack > 1 else "clients one by one"
        return f"{how} ({self.reason})"


def from_rule(
    engine: EngineSpec,
    trainer: ClientTrainer,
    device: str,
    cohort: int,
    batch_size: BatchSize = "full",
) -> ExecutionPlan:
    """Chooses by network, method and device.

    Stacked convolutions are grouped convolutions, which are slow on CPUs. Stacking dense layers is
    faster while the stack fits into the caches, as the interpreter's overhead per operation
    dominates for small clients.

    Args:
        engine: The scenario's ``engine`` block; ``measured`` is treated like ``vmap``.
        trainer: The method's client trainer.
        device: The kind of device.
        cohort: Number of clients of a round.
        batch_size: Samples per step.
    """
    if engine.execution in CAPTURING:
        kind = "CUDA graphs" if engine.execution == "graph" else "compiled steps"
        reason = why_not(engine.execution, trainer, batch_size)
        return ExecutionPlan(1, f"without {kind}: {reason}" if reason else f"by {kind}")
    if engine.execution == "sequential":
        return ExecutionPlan(1, "the scenario says so")
    if not trainer.supports_vmap:
        return ExecutionPlan(1, "the method or the network cannot be stacked")
    parameters = list(trainer.task.model.parameters())
    size = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
    on_accelerator = accelerator.is_accelerator(device)
    fitting = min(MOST, (ACCELERATOR_MEMORY if on_accelerator else CACHES) // max(size, 1))
    if engine.execution != "auto":
        return ExecutionPlan(engine.stack_size or max(FEWEST, fitting), "the scenario says so")
    if on_accelerator:
        return ExecutionPlan(engine.stack_size or max(FEWEST, fitting), "on a GPU")
    if not only_dense(trainer.task.model):
        return ExecutionPlan(1, "the network has more than dense layers, on a CPU")
    if min(fitting, cohort) < FEWEST:
        return ExecutionPlan(1, "few clients or a large network, on a CPU")
    return ExecutionPlan(engine.stack_size or fitting, "small dense network on a CPU")


def from_timing(
    scenario: Scenario,
    stack: int,
    clients: int,
    device: str,
    alone: Callable[[], object],
    together: Callable[[], object],
) -> ExecutionPlan:
    """Chooses by a timing, made once for every workload on this machine.

    Args:
        scenario: The experiment.
        stack: Largest number of clients in a stack.
        clients: Number of clients that `alone` and `together` train.
        device: The kind of device.
        alone: Trains some clients one by one and discards the results.
        together: Trains the same clients as a stack and discards the results.
    """
    path = (
        array_cache.folder().parent
        / "execution"
        / f"{_kind_of_work(scenario, clients, device)}.json"
    )
    try:
        seconds = json.loads(path.read_text())
        if set(seconds) != {"sequential", "vmap"}:
            raise ValueError("kept by another version")
    except (OSError, ValueError):
        seconds = {"sequential": _seconds(alone), "vmap": _seconds(together)}
        _remember(path, seconds)
    quicker = min(seconds, key=lambda way: seconds[way])
    times = f"{seconds['vmap']:.3f} s, and {seconds['sequential']:.3f} s one by one"
    return ExecutionPlan(stack if quicker == "vmap" else 1, f"{clients} as one took {times}")


def _kind_of_work(scenario: Scenario, clients: int, device: str) -> str:
    """A hash of everything that the times depend on."""
    on_accelerator = accelerator.is_accelerator(device)
    processor = accelerator.name_of(device) if on_accelerator else platform.processor()
    blocks = scenario.model_dump(mode="json", include={"data", "model", "strategy", "training"})
    machine = [device, processor, platform.node(), torch.get_num_threads(), torch.__version__]
    text = json.dumps(
        [blocks, scenario.partition.number_of_clients, clients, machine], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _seconds(action: Callable[[], object]) -> float:
    """Wall-clock time of the second of two calls; the first one warms up."""
    action()
    start = time.perf_counter()
    action()
    accelerator.synchronize()
    return time.perf_counter() - start


def _remember(path: Path, seconds: dict[str, float]) -> None:
    """Stores times for later runs; does nothing if the folder cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(seconds), shared=True)
    except OSError:
        pass  # the next run measures again
