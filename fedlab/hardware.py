"""The ``resources`` block of a scenario: what a simulation runs on."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveInt, field_validator, model_validator

from fedlab import accelerator
from fedlab.config.component import ConfigBlock
from fedlab.errors import InputError

KEY = "resources.device"


class ResourcesSpec(ConfigBlock):
    """What the simulation runs on; only `cpus_per_actor` and `device` may change a result.

    Attributes:
        backend: ``ray`` (one actor per share of the hardware) or ``local`` (in this process).
        actors: Number of Ray actors; by default as many as fit.
        cpus_per_actor: CPU cores, and PyTorch threads, of an actor. Sums over several threads are
            rounded otherwise, which changes results by some 1e-8.
        gpus_per_actor: GPUs, or the share of one, of an actor; by default a quarter of a GPU
            where there is one, and none elsewhere.
        device: Where clients train: ``cpu``, or an accelerator by PyTorch's name for it (``cuda``,
            also for ROCm, ``cuda:1``, ``xpu``, ``mps``); ``auto`` is the accelerator that is
            there, unless `gpus_per_actor` is 0, and else the CPU. Ray assigns GPUs to its actors,
            so that an index is for ``backend: local``. Each kind rounds in its own way.
        address: Address of a running Ray cluster; by default one is started on this machine.
    """

    backend: Literal["ray", "local"] = "ray"
    actors: PositiveInt | None = None
    cpus_per_actor: PositiveInt = 1
    gpus_per_actor: float | None = Field(default=None, ge=0)
    device: str = "auto"
    address: str | None = None

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if device != "auto":
            try:
                accelerator.parsed(device, "device")
            except InputError as error:
                raise ValueError(str(error).partition(": ")[2]) from error
        return device

    @model_validator(mode="after")
    def _says_one_thing(self) -> ResourcesSpec:
        if self.device == "cpu" and self.gpus_per_actor:
            raise ValueError(
                f"resources.gpus_per_actor {self.gpus_per_actor:g} is for actors on a GPU, and "
                "resources.device is cpu; leave one of the two out"
            )
        if self.on_accelerator and self.gpus_per_actor == 0:
            raise ValueError(
                f"resources.gpus_per_actor 0 is for the CPU, and resources.device is "
                f"{self.device}; leave one of the two out"
            )
        return self

    @property
    def on_accelerator(self) -> bool:
        """Whether the scenario asks for an accelerator by name."""
        return self.device not in ("auto", "cpu")

    def device_here(self) -> torch.device:
        """The device of a process that trains by itself, on this machine.

        Raises:
            InputError: If the scenario asks for one that is not there.
        """
        return accelerator.device_of(self.device, KEY, accelerated=self.gpus_per_actor != 0)

    def device_afterwards(self) -> torch.device:
        """The device for what is done with a finished run, on this machine.

        As `device_here`; where the run's own is not there, the accelerator that is, or the CPU.
        """
        try:
            return self.device_here()
        except InputError:
            return accelerator.current() or torch.device("cpu")
