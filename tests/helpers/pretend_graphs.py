"""Graphs of the pretend accelerator: operations recorded once and played on the same memory.

As in a CUDA graph, what a step computes in Python (numbers, decisions, shapes) is fixed when it
is captured, results lie where they lay then, and nothing may wait for the device or copy from the
host. What it cannot show: streams, a pool of memory that graphs share, and what kernels of CUDA do
under capture.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from fedlab.engine.execution.captured.capturable import GRAPHS
from fedlab.engine.execution.captured.capture import Capture, Replay, Step
from helpers import pretend_accelerator
from helpers.pretend_accelerator import Operation
from helpers.pretend_costs import FREE, counting, is_view, launched


class PretendGraphs(Capture):
    """Captures steps on the pretend accelerator.

    Attributes:
        captured: Number of captured steps.
        replayed: Number of replays of all of them.
    """

    def __init__(self) -> None:
        self.captured = 0
        self.replayed = 0

    def capture(self, step: Step, tensors: Sequence[torch.Tensor]) -> Replay:
        """See `Capture.capture`.

        Raises:
            RuntimeError: As CUDA's, if the step waits for the device or copies from the host.
        """
        step(tensors)
        operations: list[Operation] = []
        pretend_accelerator.tapes.append(operations)
        try:
            with counting() as cost:
                step(tensors)
        finally:
            pretend_accelerator.tapes[:] = [
                tape for tape in pretend_accelerator.tapes if tape is not operations
            ]
        if cost["waits"] or cost["to_device"]:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captured += 1
        played = [each for each in operations if not (_makes_nothing(each[0]))]

        def replay() -> None:
            self.replayed += 1
            launched("graph")
            with torch.no_grad():
                for operation in played:
                    play(operation)

        return replay


@contextmanager
def present() -> Generator[PretendGraphs]:
    """The accelerator is there, and has graphs, within the context."""
    made = PretendGraphs()
    with pretend_accelerator.present() as device:
        GRAPHS[device.type] = lambda: made
        try:
            yield made
        finally:
            del GRAPHS[device.type]


def play(operation: Operation) -> None:
    """Does an operation again and leaves its results where they were."""
    func, given, named, made = operation
    again = func(*given, **named)
    if func._schema.is_mutable:
        return
    for place, value in zip(_tensors(made), _tensors(again), strict=True):
        place.copy_(value)


def _makes_nothing(func: Any) -> bool:
    return is_view(func) or func._schema.name in FREE


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
