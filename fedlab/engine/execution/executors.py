"""The list of executors, the fastest first."""

from __future__ import annotations

from fedlab.engine.execution.batched_mlp import BatchedMLP
from fedlab.engine.execution.executor import Executor
from fedlab.engine.execution.sequential import Sequential
from fedlab.engine.execution.vmapped import Vmapped

EXECUTORS: tuple[type[Executor], ...] = (BatchedMLP, Vmapped, Sequential)
