"""Many runs on one machine or Ray cluster, as many at once as fit.

A run that is alone with a share of one actor needs no messages between processes: the process that
conducts it trains its clients, too, by the same code and with as many threads as an actor has, and
so with the same bytes. Where there are fewer runs than room for actors, each run gets its share of
them, and the process that conducts it only sends and adds up.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from fedlab import registry
from fedlab.comparison.conductor import Conductor, Job, News, attempt
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.resources import ActorPlan, Hardware, plan_actors
from fedlab.scenario import ResourcesSpec

log = logging.getLogger("fedlab.comparison")

TRIES = 2
"""How often a run is started whose process dies of it."""

Load = Callable[[DataSpec], FederatedData]
Watch = Callable[[Job, News | None], None]
"""Hears the news of a job; None when the job has ended."""


@dataclass(frozen=True)
class Layout:
    """How runs share what there is.

    Attributes:
        at_once: Runs at the same time.
        actors: Actors of each; 1 is the process that conducts it.
        share: The hardware of one actor.
    """

    at_once: int
    actors: int
    share: ActorPlan

    def __str__(self) -> str:
        each = f"{self.share.cpus * self.actors} CPU"
        gpus = self.share.gpus * self.actors
        each += f" and {gpus:g} GPU" * bool(gpus)
        return f"{self.at_once} run{'s' * (self.at_once > 1)} at once with {each} each"


def lay_out(
    spec: ResourcesSpec, hardware: Hardware, runs: int, cohort: int, at_once: int | None
) -> Layout:
    """Divides the hardware among runs: as many at once as there is room for actors.

    Args:
        spec: What the scenario says of an actor, and of the number of them in a run.
        hardware: What there is.
        runs: Runs to be done.
        cohort: Clients of a round; a run has no use for more actors.
        at_once: Runs at the same time, at most.

    Raises:
        InputError: If not even one actor fits.
    """
    one = plan_actors(spec.model_copy(update={"actors": None}), hardware, cohort=sys.maxsize)
    if spec.actors is not None:
        plan_actors(spec, hardware, cohort)  # refuses more than there is room for
    room = one.actors // (spec.actors or 1)
    together = min(runs, room, at_once or runs)
    actors = spec.actors or max(1, min(one.actors // together, cohort))
    return Layout(together, actors, replace(one, actors=actors))


def run_here(jobs: Sequence[Job], load: Load, watch: Watch) -> None:
    """Runs jobs one after another in this process."""
    for job in jobs:
        watch(job, News())
        attempt(job, load(job.scenario.data), lambda news, job=job: watch(job, news))
        watch(job, None)


def run_on_ray(jobs: Sequence[Job], load: Load, watch: Watch, at_once: int | None) -> None:
    """Runs jobs on one Ray cluster, which is started unless there is one.

    Raises:
        InputError: If there is no cluster at ``resources.address``, or an actor does not fit.
        RunError: If Ray cannot be started.
    """
    import ray

    from fedlab.engine.cluster import connect
    from fedlab.engine.session import end_waiting_actors

    spec = jobs[0].scenario.resources
    hardware, disconnect = connect(spec.address)
    end_waiting_actors()
    try:
        cohort = max(job.scenario.cohort_size for job in jobs)
        layout = lay_out(spec, hardware, len(jobs), cohort, at_once)
        log.info("%s, on Ray", layout)
        machines = sum(node["Alive"] for node in ray.nodes())
        _Conductors(layout, alone=layout.actors == 1 and machines == 1).run(jobs, load, watch)
    finally:
        disconnect()


class _Conductors:
    """Processes that run jobs, one after another each.

    Args:
        layout: How the runs share the cluster.
        alone: Whether a conductor trains its run's clients itself. Not on several machines:
            conductors stay on this one, where the folders are, and actors go anywhere.
    """

    def __init__(self, layout: Layout, alone: bool) -> None:
        self.layout = layout
        self.alone = alone
        self.data: dict[str, Any] = {}
        self.busy: dict[Any, tuple[Job, Any, int]] = {}
        self.idle: deque[Any] = deque()

    def run(self, jobs: Sequence[Job], load: Load, watch: Watch) -> None:
        """Runs all jobs; a run whose process dies is tried once more."""
        import ray
        from ray.exceptions import RayError

        self.idle.extend(self._start() for _ in range(self.layout.at_once))
        queue = deque((job, 1) for job in jobs)
        try:
            while queue or self.busy:
                while queue and self.idle:
                    job, times = queue.popleft()
                    watch(job, News())
                    conductor = self.idle.popleft()
                    stream = conductor.run.remote(self._laid_out(job), self._shared(job, load))
                    self.busy[stream] = job, conductor, times
                ready, _ = ray.wait([*self.busy], num_returns=1, fetch_local=False)
                stream: Any = ready[0]
                job, conductor, times = self.busy[stream]
                try:
                    watch(job, ray.get(next(stream)))
                    continue
                except StopIteration:
                    self.idle.append(conductor)
                except RayError as error:
                    with suppress(Exception):
                        ray.kill(conductor)
                    self.idle.append(self._start())
                    if times < TRIES:
                        queue.appendleft((job, times + 1))
                        del self.busy[stream]
                        continue
                    reason = str(error).strip().splitlines()[0]
                    watch(job, News(failure=f"its process died {times} times: {reason}"))
                del self.busy[stream]
                watch(job, None)
        finally:
            for conductor in [*self.idle, *(conductor for _, conductor, _ in self.busy.values())]:
                ray.kill(conductor)

    def _start(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        share = self.layout.share
        here = ray.get_runtime_context().get_node_id()
        actor = cast(Any, ray.remote(Conductor)).options(
            num_cpus=share.cpus if self.alone else 0,
            num_gpus=share.gpus if self.alone else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        return actor.remote(sys.path)

    def _laid_out(self, job: Job) -> Job:
        spec, share = job.scenario.resources, self.layout.share
        changes = (
            {"backend": "local", "gpus_per_actor": share.gpus}
            if self.alone
            else {"actors": min(self.layout.actors, job.scenario.cohort_size)}
        )
        return replace(
            job,
            resources=spec.model_copy(update=changes),
            threads=torch.get_num_threads(),
            lent=registry.lent(),
        )

    def _shared(self, job: Job, load: Load) -> Any:
        """The job's samples in the object store, where those of the same data lie once."""
        import ray

        key = job.scenario.data.model_dump_json()
        if key not in self.data:
            self.data[key] = ray.put(load(job.scenario.data))
        return self.data[key]


def memory_of_data() -> Load:
    """A loader that remembers what it has loaded, by the scenario's ``data`` block."""
    from fedlab.data.pool import load_data

    loaded: dict[str, FederatedData] = {}

    def load(spec: DataSpec) -> FederatedData:
        key = spec.model_dump_json()
        if key not in loaded:
            loaded[key] = load_data(spec)
        return loaded[key]

    return load
