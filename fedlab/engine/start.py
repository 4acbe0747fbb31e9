"""Starts the grid of a scenario's clients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fedlab import accelerator
from fedlab.config import registry
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.captured.capturable import CAPTURING, refuse_capturing
from fedlab.engine.execution.mixed_runtime import MixedRuntime
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.grid import ClientGrid
from fedlab.engine.local_grid import LocalGrid
from fedlab.engine.ray.resources import ActorPlan, Hardware, plan_actors, refuse_index
from fedlab.engine.work_units import clients_per_batch
from fedlab.errors import InputError
from fedlab.hardware import KEY, ResourcesSpec
from fedlab.models.anatomy.observed import Observed
from fedlab.models.per_client import PerClient
from fedlab.partition.partition import Partition
from fedlab.scenario import Scenario


def check_resources(scenario: Scenario) -> None:
    """Refuses resources that this machine does not have, before anything is started.

    Raises:
        InputError: If the scenario requests more than there is, or a cluster that does not answer
            (the cluster's own resources are checked later).
    """
    resources, execution = scenario.resources, scenario.engine.execution
    if resources.backend == "local":
        if resources.address is not None:
            raise InputError(
                f"resources.address: '{resources.address}' would have no effect: "
                "resources.backend is local, which uses no Ray cluster; set "
                "resources.address=null, or resources.backend=ray"
            )
        refuse_capturing(execution, resources.device_here())
    else:
        refuse_index(resources)
        if find_spec("ray") is None:
            raise InputError(
                "resources.backend: 'ray' is not installed; install fedlab-sim[sim], or set "
                "resources.backend=local"
            )
        import ray

        if ray.is_initialized():
            return  # the cluster may have more than this machine
        if resources.address is not None:
            from fedlab.engine.ray.cluster import refuse_unreachable

            refuse_unreachable(resources.address)
            return
    plan = plan_actors(resources, Hardware.here(), scenario.largest_cohort)
    if resources.backend == "ray" and execution in CAPTURING:
        device = accelerator.device_of(device_of_actors(resources, plan), KEY)
        refuse_capturing(execution, device)


def start_grid(
    scenario: Scenario,
    data: FederatedData,
    partition: Partition,
    observed: Observed | None = None,
) -> tuple[ClientGrid, str]:
    """Starts the scenario's engine.

    Args:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        observed: Observations of the network in this process, so that others need not repeat them.

    Returns:
        The grid, and one line that describes what it runs on.
    """
    if scenario.resources.backend == "local":
        device = str(scenario.resources.device_here())
        threads = scenario.resources.cpus_per_actor
        runtime = make_runtime(scenario, device, threads, data, partition, observed=observed)
        grid = LocalGrid(runtime, threads)
        return grid, f"in this process on {device}"
    return _start_ray(scenario, data, partition, observed)


def _start_ray(
    scenario: Scenario, data: FederatedData, partition: Partition, observed: Observed | None
) -> tuple[ClientGrid, str]:
    import ray  # an edge device has no Ray

    from fedlab.engine.ray.actor_pool import ActorSize, pool_of
    from fedlab.engine.ray.cluster import connect
    from fedlab.engine.ray.ray_grid import RayGrid

    hardware, disconnect = connect(scenario.resources.address)
    try:
        plan: ActorPlan = plan_actors(scenario.resources, hardware, scenario.cohort_size)
        device = device_of_actors(scenario.resources, plan)
        if device == "cpu" and scenario.engine.execution == "graph":
            refuse_capturing(scenario.engine.execution, torch.device(device))
        grid = RayGrid(
            partial(
                make_runtime,
                scenario,
                device,
                plan.cpus,
                session_classes=registry.session_classes(),
                observed=observed,
            ),
            # Machines of a cluster elsewhere may not see the files that samples are mapped from.
            shared=[
                ray.put(data if scenario.resources.address is None else data.in_memory()),
                ray.put(partition),
            ],
            sizes=np.diff(partition.train_offsets),  # type: ignore[arg-type]
            tested=clients_per_batch(partition, scenario.evaluation.batch_size),
            actors=plan.actors,
            pool=pool_of(ActorSize(plan.cpus, plan.gpus)),
            on_close=disconnect,
        )
    except BaseException:
        disconnect()
        raise
    grid.wait_until_ready()
    return grid, f"on Ray, {plan}"


def make_runtime(
    scenario: Scenario,
    device: str,
    threads: int,
    data: FederatedData,
    partition: Partition,
    session_classes: Mapping[str, Any] = MappingProxyType({}),
    observed: Observed | None = None,
) -> Runtime:
    """A runtime in the calling process; sets its number of PyTorch threads.

    Args:
        scenario: The experiment.
        device: The device's name; ``auto`` is this process's own accelerator.
        threads: PyTorch threads.
        data: The pooled samples.
        partition: Which of them belong to which client.
        session_classes: Registered classes that this process may be unable to import.
        observed: Observations of the network in the driver's process.
    """
    registry.register_classes(session_classes)
    torch.set_num_threads(threads)
    where = accelerator.device_of(device, KEY)
    refuse_capturing(scenario.engine.execution, where)
    accelerator.make_deterministic(where)
    if isinstance(scenario.model, PerClient):
        return MixedRuntime(scenario, data, partition, where)
    return Runtime(scenario, data, partition, where, observed)


def device_of_actors(resources: ResourcesSpec, plan: ActorPlan) -> str:
    """The ``device`` of an actor; with a GPU from Ray, it takes the one it can see."""
    return resources.device if resources.on_accelerator else ("auto" if plan.gpus else "cpu")
