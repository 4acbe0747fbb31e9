"""The list of executors, the fastest first."""

from __future__ import annotations

from fedlab.engine.execution.batched_mlp import BatchedMLP
from fedlab.engine.execution.captured.captured_executors import Compiled, Graphed
from fedlab.engine.execution.executor import Executor, Setting
from fedlab.engine.execution.sequential import Sequential
from fedlab.engine.execution.vmapped import Vmapped

EXECUTORS: tuple[type[Executor], ...] = (BatchedMLP, Vmapped, Sequential)

CAPTURING: dict[str, type[Executor]] = {"graph": Graphed, "compile": Compiled}
"""Those that a scenario asks for by name (``engine.execution``); they go before `Sequential`."""


def executors_of(setting: Setting) -> list[Executor]:
    """The executors of a run; the last one supports everything."""
    asked = CAPTURING.get(setting.execution)
    kinds = EXECUTORS if asked is None else (asked, Sequential)
    return [kind(setting) for kind in kinds]
