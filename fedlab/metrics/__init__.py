"""Metrics of models, and measures of a run's history.

A metric of one's own subclasses `Metric`, or `SampleMean` where its figure is a mean over samples.
"""

from typing import TYPE_CHECKING

from fedlab.lazy import doors

if TYPE_CHECKING:
    from fedlab.metrics.base import Counts as Counts
    from fedlab.metrics.base import Metric as Metric
    from fedlab.metrics.base import SampleMean as SampleMean
    from fedlab.metrics.confusion import ConfusionMetric as ConfusionMetric
    from fedlab.metrics.score_histogram import Histogram as Histogram
    from fedlab.metrics.score_histogram import RankingMetric as RankingMetric
    from fedlab.runs.curves import bytes_reaching as bytes_reaching
    from fedlab.runs.curves import costs as costs
    from fedlab.runs.curves import learning_curves as learning_curves
    from fedlab.runs.curves import round_reaching as round_reaching
    from fedlab.runs.curves import virtual_seconds_reaching as virtual_seconds_reaching
    from fedlab.runs.metrics import last_evaluated_round as last_evaluated_round
    from fedlab.runs.metrics import mean_over_domains as mean_over_domains
    from fedlab.runs.metrics import virtual_time as virtual_time

__all__ = [
    "ConfusionMetric",
    "Counts",
    "Histogram",
    "Metric",
    "RankingMetric",
    "SampleMean",
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
        "ConfusionMetric": "fedlab.metrics.confusion",
        "Counts": "fedlab.metrics.base",
        "Histogram": "fedlab.metrics.score_histogram",
        "Metric": "fedlab.metrics.base",
        "RankingMetric": "fedlab.metrics.score_histogram",
        "SampleMean": "fedlab.metrics.base",
        "last_evaluated_round": "fedlab.runs.metrics",
        "learning_curves": "fedlab.runs.curves",
        "mean_over_domains": "fedlab.runs.metrics",
        "round_reaching": "fedlab.runs.curves",
        "virtual_seconds_reaching": "fedlab.runs.curves",
        "virtual_time": "fedlab.runs.metrics",
    },
)
