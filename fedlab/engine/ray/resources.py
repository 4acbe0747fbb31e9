"""Number and size of actors on the available hardware."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from fedlab import accelerator
from fedlab.errors import InputError
from fedlab.hardware import KEY, ResourcesSpec

ACTORS_PER_GPU = 4
"""Actors that share a GPU by default: one small client alone leaves most of a GPU idle."""

UNSEEN = ("mps",)
"""Kinds of accelerator that Ray does not count: actors use them only where a scenario says so."""


@dataclass(frozen=True)
class Hardware:
    """Available hardware.

    Attributes:
        cpus: Number of CPU cores.
        gpus: Number of GPUs.
        where: Its name in error messages.
    """

    cpus: float
    gpus: float
    where: str = "this machine"

    @classmethod
    def here(cls) -> Hardware:
        """The hardware of this machine."""
        kind = accelerator.current()
        seen = kind is not None and kind.type not in UNSEEN
        return cls(cpus=len(os.sched_getaffinity(0)), gpus=accelerator.count() if seen else 0)


@dataclass(frozen=True)
class ActorPlan:
    """Division of the hardware among actors.

    Attributes:
        actors: Number of actors.
        cpus: CPU cores, and PyTorch threads, of each.
        gpus: GPUs, or the share of one, of each.
    """

    actors: int
    cpus: int
    gpus: float

    def __str__(self) -> str:
        each = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return f"{self.actors} actor{'s' * (self.actors > 1)} with {each} each"


def plan_actors(spec: ResourcesSpec, hardware: Hardware, cohort: int) -> ActorPlan:
    """Divides the hardware among actors, at most as many as a round has clients.

    Raises:
        InputError: If the scenario asks for more than there is.
    """
    gpus = spec.gpus_per_actor
    unseen = spec.on_accelerator and accelerator.parsed(spec.device, KEY).type in UNSEEN
    if spec.device == "cpu" or unseen:
        gpus = gpus or 0.0
    elif spec.on_accelerator and not hardware.gpus:
        raise InputError(
            f"{KEY}: '{spec.device}' asked for and {hardware.where} has no GPU that PyTorch can "
            f"use; set {KEY}=cpu, or leave it out"
        )
    elif gpus is None:
        gpus = 1 / ACTORS_PER_GPU if hardware.gpus else 0.0
    if gpus and not hardware.gpus:
        raise InputError(
            f"resources.gpus_per_actor: {gpus:g} asked for and {hardware.where} has no GPU that "
            "PyTorch can use; set resources.gpus_per_actor=0 to run on the CPU"
        )
    if gpus > 1 and gpus != int(gpus):
        raise InputError(f"resources.gpus_per_actor: {gpus:g} must be at most 1, or a whole number")
    by_cpu = math.floor(hardware.cpus / spec.cpus_per_actor)
    by_gpu = math.floor(hardware.gpus / gpus + 1e-9) if gpus else by_cpu
    most = min(by_cpu, by_gpu)
    if most < 1:
        raise InputError(
            f"resources: an actor of {spec.cpus_per_actor} CPU and {gpus:g} GPU does not fit: "
            f"{hardware.where} has {hardware.cpus:g} CPU and {hardware.gpus:g} GPU; "
            "lower resources.cpus_per_actor or resources.gpus_per_actor"
        )
    if spec.actors is not None and spec.actors > most:
        raise InputError(
            f"resources.actors: {spec.actors} actors of {spec.cpus_per_actor} CPU and {gpus:g} GPU "
            f"do not fit: {hardware.where} has {hardware.cpus:g} CPU and {hardware.gpus:g} GPU; "
            f"use at most {most}"
        )
    return ActorPlan(spec.actors or max(1, min(most, cohort)), spec.cpus_per_actor, gpus)


def refuse_index(spec: ResourcesSpec) -> None:
    """Refuses one accelerator of several where Ray assigns them to actors.

    Raises:
        InputError: If the scenario names one.
    """
    if spec.on_accelerator and (index := accelerator.parsed(spec.device, KEY).index) is not None:
        raise InputError(
            f"{KEY}: '{spec.device}' is one accelerator, and Ray assigns them to its actors; say "
            f"{spec.device.removesuffix(f':{index}')}, or set resources.backend=local"
        )
