"""Schedules the jobs of a comparison on worker processes of a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import ray
import torch
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fedlab.comparison.run_worker import Load, OnProgress, RunProgress, RunTask, RunWorker
from fedlab.config import registry
from fedlab.engine.ray.resources import ActorPlan
from fedlab.scenario import Scenario

TRIES = 2
"""How often a run is started whose process dies of it."""


@dataclass(frozen=True)
class WorkerHandle:
    """A worker process of runs.

    Attributes:
        actor: The `RunWorker`.
        alone: Whether it trains its run's clients itself, or leaves them to actors.
    """

    actor: Any
    alone: bool


class Attempt(NamedTuple):
    """A job on a worker, and the number of the attempt."""

    job: RunTask
    post: WorkerHandle
    number: int


class RunScheduler:
    """Runs jobs on a Ray cluster that this process is connected to.

    All workers are on this machine, where the folders of the runs are.

    Args:
        max_parallel: Jobs at the same time.
        actors: Actors of each, where it has any.
        share: The hardware of one actor.
        alone: Whether a worker trains its run's clients itself.
    """

    def __init__(self, max_parallel: int, actors: int, share: ActorPlan, alone: bool) -> None:
        self.actors = actors
        self.share = share
        self.idle = deque(self._start(alone) for _ in range(max_parallel))
        self.busy: dict[Any, Attempt] = {}
        self.data: dict[str, ray.ObjectRef[Any]] = {}

    def run(self, jobs: Sequence[RunTask], load: Load, watch: OnProgress) -> None:
        """Runs all jobs.

        A run whose process dies is tried once more, with its clients in separate processes:
        as in a single run, a client that kills its process then ends no other client.

        Args:
            jobs: What to run.
            load: Gives the samples of a job.
            watch: Called with the progress of each run.
        """
        queue = deque((job, 1) for job in jobs)
        try:
            while queue or self.busy:
                while queue and self.idle:
                    job, number = queue.popleft()
                    watch(job, RunProgress())
                    self._send(Attempt(job, self.idle.popleft(), number), load)
                ready, _ = ray.wait([*self.busy], num_returns=1, fetch_local=False)
                stream = cast(Any, ready[0])
                job, post, number = self.busy[stream]
                try:
                    news = cast(RunProgress, ray.get(next(stream)))
                except StopIteration:
                    del self.busy[stream]
                    self.idle.append(post)
                    watch(job, None)
                except RayError as error:
                    del self.busy[stream]
                    self._kill(post)
                    self.idle.appendleft(self._start(alone=False))
                    if number < TRIES:
                        queue.appendleft((job, number + 1))
                        continue
                    watch(job, RunProgress(failure=f"its process died {number} times: {error}"))
                    watch(job, None)
                else:
                    watch(job, news)
        finally:
            for post in [*self.idle, *(attempt.post for attempt in self.busy.values())]:
                self._kill(post)

    def _start(self, alone: bool) -> WorkerHandle:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = cast(Any, ray.remote(RunWorker)).options(
            num_cpus=self.share.cpus if alone else 0,
            num_gpus=self.share.gpus if alone else 0,
            scheduling_strategy=here,
        )
        settings = {name: v for name, v in os.environ.items() if name.startswith("FEDLAB_")}
        return WorkerHandle(actor.remote(sys.path, Path.cwd(), settings), alone)

    def _kill(self, post: WorkerHandle) -> None:
        with suppress(RayError, ValueError):
            ray.kill(post.actor)

    def _send(self, attempt: Attempt, load: Load) -> None:
        job, post, _ = attempt
        resources = job.scenario.resources.model_copy(
            update={"backend": "local", "gpus_per_actor": self.share.gpus or _none(job.scenario)}
            if post.alone
            else {"actors": min(self.actors, job.scenario.largest_cohort)}
        )
        laid_out = replace(
            job,
            resources=resources,
            threads=torch.get_num_threads(),
            session_classes=registry.session_classes(),
        )
        stream = post.actor.run.remote(laid_out, self._samples(job, load))
        self.busy[stream] = attempt

    def _samples(self, job: RunTask, load: Load) -> ray.ObjectRef[Any]:
        """The job's samples in the object store; equal ones are stored once."""
        key = job.scenario.data.model_dump_json()
        if key not in self.data:
            self.data[key] = ray.put(load(job.scenario.data))
        return self.data[key]


def _none(scenario: Scenario) -> float | None:
    """No GPUs of Ray's: the CPU, or a device of the scenario's that Ray does not manage."""
    return None if scenario.resources.on_accelerator else 0.0
