"""What can be measured of a run's history."""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.runs.curves import bytes_reaching as bytes_reaching
    from fedlab.runs.curves import costs as costs
    from fedlab.runs.curves import learning_curves as learning_curves
    from fedlab.runs.curves import round_reaching as round_reaching
    from fedlab.runs.curves import virtual_seconds_reaching as virtual_seconds_reaching
    from fedlab.runs.metrics import last_evaluated_round as last_evaluated_round
    from fedlab.runs.metrics import mean_over_domains as mean_over_domains
    from fedlab.runs.metrics import virtual_time as virtual_time

__all__ = [
    "bytes_reaching",
    "costs",
    "last_evaluated_round",
    "learning_curves",
    "mean_over_domains",
    "round_reaching",
    "virtual_seconds_reaching",
    "virtual_time",
]

__getattr__, __dir__ = doors(
    __name__,
    {
        "bytes_reaching": "fedlab.runs.curves",
        "costs": "fedlab.runs.curves",
        "last_evaluated_round": "fedlab.runs.metrics",
        "learning_curves": "fedlab.runs.curves",
        "mean_over_domains": "fedlab.runs.metrics",
        "round_reaching": "fedlab.runs.curves",
        "virtual_seconds_reaching": "fedlab.runs.curves",
        "virtual_time": "fedlab.runs.metrics",
    },
)
