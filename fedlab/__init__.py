"""fedlab: federated learning under label skew and domain skew.

>>> import fedlab
>>> run = fedlab.simulate("domain_skew", strategy="fedbn", seed=0)
>>> run.summary()
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from fedlab import moved

moved.install()

# fedlab phones nobody: these switch off the telemetry and update checks of Flower and Ray.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Actors without a GPU compute on the CPU because we say so; Ray need not hide the GPUs from them.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Under `uv run`, Ray would start every actor by another `uv run`, which takes seconds each.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

if TYPE_CHECKING:
    from fedlab.clients.base import LocalHalf
    from fedlab.comparison.compare import compare
    from fedlab.comparison.comparison import Comparison
    from fedlab.engine.ray.session import session
    from fedlab.errors import InputError
    from fedlab.export.export_run import export_run
    from fedlab.export.formats.safetensors import load_program
    from fedlab.preparation import prepare
    from fedlab.runs.run import Run, load_run
    from fedlab.scenario import Scenario
    from fedlab.scenario_file import load_scenario
    from fedlab.simulation import resume, simulate
    from fedlab.strategies.base import Strategy

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "InputError",
    "LocalHalf",
    "Run",
    "Scenario",
    "Strategy",
    "compare",
    "export_run",
    "load_program",
    "load_run",
    "load_scenario",
    "prepare",
    "resume",
    "session",
    "simulate",
]

_HOMES = {
    "Comparison": "comparison.comparison",
    "InputError": "errors",
    "LocalHalf": "clients.base",
    "Run": "runs.run",
    "Scenario": "scenario",
    "Strategy": "strategies.base",
    "export_run": "export.export_run",
    "load_program": "export.formats.safetensors",
    "compare": "comparison.compare",
    "load_run": "runs.run",
    "load_scenario": "scenario_file",
    "prepare": "preparation",
    "resume": "simulation",
    "session": "engine.ray.session",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: PyTorch, Flower and Ray take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fedlab' has no attribute '{name}'")
    return getattr(importlib.import_module(f"fedlab.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
