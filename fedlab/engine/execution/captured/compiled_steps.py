"""Steps as compiled code: operations of a step are fused by `torch.compile`.

The step is traced into operations of PyTorch first, gradients and optimiser included, on tensors
without values: a step that asks for one cannot be traced. What is compiled is then one function of
tensors without any Python of a method or a network in it.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from fedlab.engine.execution.captured.capture import Capture, Replay, Step

BACKEND = "inductor"
"""The compiler, by its name in `torch.compile`."""


class CompiledSteps(Capture):
    """Compiles steps, for the shapes of the given tensors alone."""

    def capture(self, step: Step, tensors: Sequence[Tensor]) -> Replay:
        """See `Capture.capture`."""
        # Takes seconds to import, which other ways of running clients need not wait for.
        from torch.fx.experimental.proxy_tensor import make_fx

        def on(*given: Tensor) -> None:
            step(given)

        trace = make_fx(on, tracing_mode="fake", _allow_non_fake_inputs=True)
        traced = trace(*tensors)
        compiled = torch.compile(traced, backend=BACKEND, fullgraph=True, dynamic=False)
        compiled(*tensors)  # compiles
        return partial(compiled, *tensors)


def missing(device: torch.device) -> str | None:
    """What compiling for a device needs and this machine lacks, in words; None if it can."""
    if device.type == "cpu":
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            return (
                f"a C++ compiler, and there is no '{compiler}'; install one (the package g++), or "
                "name one in the environment variable CXX"
            )
        if not Path(sysconfig.get_path("include"), "Python.h").is_file():
            return "Python's headers (Python.h); install the package python3-dev"
        return None
    if find_spec("triton") is None:
        return "the package triton; install it with PyTorch for this device"
    return None
