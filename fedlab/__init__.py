"""fedlab: federated learning under label skew and domain skew.

>>> import fedlab
>>> run = fedlab.simulate("domain_skew", strategy="fedbn", seed=0)
>>> run.summary()
"""

import os
from typing import TYPE_CHECKING

from fedlab import moved
from fedlab.lazy import doors

moved.install()

# fedlab sends no usage data: these switch off telemetry and update checks of Flower and Ray.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Actors without a GPU compute on the CPU because we say so; Ray need not hide the GPUs from them.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Under `uv run`, Ray would start every actor by another `uv run`, which takes seconds each.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

if TYPE_CHECKING:
    from fedlab.clients.base import ClientTrainer
    from fedlab.comparison.compare import compare
    from fedlab.comparison.compare_scenarios import compare_scenarios
    from fedlab.comparison.comparison import Comparison
    from fedlab.comparison.suite import Suite
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
    from fedlab.tuning.result import Tuning
    from fedlab.tuning.tune import tune
    from fedlab.version import __version__

__all__ = [
    "ClientTrainer",
    "Comparison",
    "InputError",
    "Run",
    "Scenario",
    "Strategy",
    "Suite",
    "Tuning",
    "__version__",
    "compare",
    "compare_scenarios",
    "export_run",
    "load_program",
    "load_run",
    "load_scenario",
    "prepare",
    "resume",
    "session",
    "simulate",
    "tune",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "__version__": "fedlab.version",
        "ClientTrainer": "fedlab.clients.base",
        "Comparison": "fedlab.comparison.comparison",
        "InputError": "fedlab.errors",
        "Run": "fedlab.runs.run",
        "Scenario": "fedlab.scenario",
        "Strategy": "fedlab.strategies.base",
        "Suite": "fedlab.comparison.suite",
        "Tuning": "fedlab.tuning.result",
        "compare": "fedlab.comparison.compare",
        "compare_scenarios": "fedlab.comparison.compare_scenarios",
        "export_run": "fedlab.export.export_run",
        "load_program": "fedlab.export.formats.safetensors",
        "load_run": "fedlab.runs.run",
        "load_scenario": "fedlab.scenario_file",
        "prepare": "fedlab.preparation",
        "resume": "fedlab.simulation",
        "session": "fedlab.engine.ray.session",
        "simulate": "fedlab.simulation",
        "tune": "fedlab.tuning.tune",
    },
    renamed={"LocalHalf": "ClientTrainer"},
)
