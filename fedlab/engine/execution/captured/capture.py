"""What turns a step into one that can be repeated without Python.

A step is a function of tensors at fixed addresses. Capturing it yields a function without arguments
that does the same to the same tensors. `CUDAGraphs` and `CompiledSteps` are the two forms; a test
has one more, which plays recorded operations on a pretend accelerator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

Step = Callable[[Sequence[Tensor]], None]
"""A step: reads and writes the tensors that it is given, in place."""

Replay = Callable[[], None]
"""Does to the captured tensors what the step would do."""


class NotCapturableError(Exception):
    """A step cannot be captured; the message is the reason. Its clients train without."""


class Capture(ABC):
    """Captures steps."""

    @abstractmethod
    def capture(self, step: Step, tensors: Sequence[Tensor]) -> Replay:
        """Captures a step, which the caller has run once before.

        May run it any number of times: the caller puts the tensors' values and the states of
        random generators back.

        Args:
            step: The step. It must do the same every time: no waiting for the device, no decisions
                that depend on values, no copies from the host.
            tensors: What it reads and writes. The caller keeps them, and writes to them in place.
        """
