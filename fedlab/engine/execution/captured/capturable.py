"""Whether steps can be captured: by the method and the network, and by the machine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fedlab import accelerator
from fedlab.clients.base import ClientTrainer
from fedlab.engine.execution.captured.capture import Capture
from fedlab.engine.execution.captured.compiled_steps import missing
from fedlab.engine.execution.captured.cuda_graphs import CUDAGraphs
from fedlab.engine.execution.passes import BatchSize
from fedlab.errors import InputError
from fedlab.models.chance import draws_random_numbers

CAPTURING = ("graph", "compile")
"""Values of ``engine.execution`` with which steps are captured."""

GRAPHS: dict[str, Callable[[], Capture]] = {"cuda": CUDAGraphs}
"""Type of a device -> its graphs; ROCm goes by the name ``cuda``."""


def why_not(execution: str, trainer: ClientTrainer, batch_size: BatchSize) -> str | None:
    """Why the steps of a method and a network are not captured, in words; None if they are.

    A step that fails in the attempt is found at its first client, whose round is then repeated
    without.

    Args:
        execution: ``graph`` or ``compile``.
        trainer: The method's client trainer.
        batch_size: Samples per step.
    """
    phases, task = trainer.phases(), trainer.task
    own = type(trainer).step is not ClientTrainer.step
    if own or any(phase.step or phase.again for phase in phases):
        return "the method takes steps of its own"
    if any(phase.strong_views for phase in phases):
        return "strong views of images have shapes that depend on what is drawn"
    if not task.loss.supports_vmap:
        return "the loss keeps tensors whose shapes differ between clients"
    if task.holds:
        return "the network's backward pass runs parts of it again"
    if execution == "compile":
        if draws_random_numbers(task.model):
            return "the network draws random numbers, and compiled code draws others"
        if batch_size == "full":
            return "training.batch_size is full, and every size would be compiled by itself"
    return None


def refuse_capturing(execution: str, device: torch.device) -> None:
    """Refuses to capture steps on a device that cannot.

    Args:
        execution: The scenario's ``engine.execution``.
        device: Where clients train.

    Raises:
        InputError: With what is missing, and the remedy.
    """
    if execution == "graph" and device.type not in GRAPHS:
        raise InputError(
            f"engine.execution: 'graph' replays CUDA graphs, and clients train on {device.type} "
            f"(PyTorch finds {', '.join(accelerator.known())} on this machine); set "
            "engine.execution=auto, or train on a CUDA device"
        )
    if execution == "compile" and (lacks := missing(device)):
        raise InputError(f"engine.execution: 'compile' needs {lacks}; or set engine.execution=auto")
