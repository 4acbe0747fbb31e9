"""Launches many runs on one machine or Ray cluster, as many at once as fit.

A run whose share is one actor needs no messages between processes: its worker process trains its
clients, too, by the same code and with as many threads as an actor has, and so with the same bytes.
Where more actors fit than there are runs, each run gets its share of them, and its worker process
only sends messages and adds updates up.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedlab.comparison.run_worker import Load, OnProgress, RunProgress, RunTask, attempt
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.ray.resources import ActorPlan, Hardware, plan_actors
from fedlab.scenario import ResourcesSpec

log = logging.getLogger("fedlab.comparison")


RUN_BYTES = 1.5e9
"""Memory to leave for a run: its process takes about 1 GB, most of it libraries.

Large networks take more; then ``--max-parallel`` says how many runs fit.
"""


@dataclass(frozen=True)
class Layout:
    """How runs share the hardware.

    Attributes:
        max_parallel: Runs at the same time.
        actors: Actors of each; 1 is its worker process.
        share: The hardware of one actor.
    """

    max_parallel: int
    actors: int
    share: ActorPlan

    def __str__(self) -> str:
        each = f"{self.share.cpus * self.actors} CPU"
        gpus = self.share.gpus * self.actors
        each += f" and {gpus:g} GPU" * bool(gpus)
        return f"{self.max_parallel} run{'s' * (self.max_parallel > 1)} at once with {each} each"


def lay_out(
    spec: ResourcesSpec, hardware: Hardware, runs: int, cohort: int, max_parallel: int | None
) -> Layout:
    """Divides the hardware among runs: as many at once as their actors fit.

    Args:
        spec: What the scenario says of an actor, and of the number of them in a run.
        hardware: What there is.
        runs: Runs to be done.
        cohort: Clients of a round; a run has no use for more actors.
        max_parallel: Runs at the same time, at most.

    Raises:
        InputError: If not even one actor fits.
    """
    one = plan_actors(spec.model_copy(update={"actors": None}), hardware, cohort=sys.maxsize)
    if spec.actors is not None:
        plan_actors(spec, hardware, cohort)  # refuses more than there is room for
    room = one.actors // (spec.actors or 1)
    together = min(runs, room, max_parallel or runs)
    actors = spec.actors or max(1, min(one.actors // together, cohort))
    return Layout(together, actors, replace(one, actors=actors))


def run_here(jobs: Sequence[RunTask], load: Load, watch: OnProgress) -> None:
    """Runs jobs one after another in this process."""
    for job in jobs:
        watch(job, RunProgress())
        attempt(job, load(job.scenario.data), lambda news, job=job: watch(job, news))
        watch(job, None)


def run_on_ray(
    jobs: Sequence[RunTask], load: Load, watch: OnProgress, max_parallel: int | None
) -> None:
    """Runs jobs on one Ray cluster, which is started unless there is one.

    Raises:
        InputError: If there is no cluster at ``resources.address``, or an actor does not fit.
        RunError: If Ray cannot be started.
    """
    import ray

    from fedlab.comparison.run_scheduler import RunScheduler
    from fedlab.engine.ray.cluster import connect
    from fedlab.engine.ray.session import end_waiting_actors

    spec = jobs[0].scenario.resources
    hardware, disconnect = connect(spec.address)
    end_waiting_actors()
    try:
        cohort = max(job.scenario.largest_cohort for job in jobs)
        fitting = max(1, int(ray.cluster_resources().get("memory", 1e15) // RUN_BYTES))
        most = min(max_parallel or fitting, fitting)
        layout = lay_out(spec, hardware, len(jobs), cohort, most)
        log.info("%s, on Ray", layout)
        machines = sum(node["Alive"] for node in ray.nodes())
        alone = layout.actors == 1 and machines == 1
        RunScheduler(layout.max_parallel, layout.actors, layout.share, alone).run(jobs, load, watch)
    finally:
        disconnect()


def memory_of_data() -> Load:
    """A loader that caches data by the scenario's ``data`` block."""
    from fedlab.data.load import load_data

    loaded: dict[str, FederatedData] = {}

    def load(spec: DataSpec) -> FederatedData:
        key = spec.model_dump_json()
        if key not in loaded:
            loaded[key] = load_data(spec)
        return loaded[key]

    return load
