"""Results of runs and their uncertainty: pure functions of histories and numbers.

A score, accuracy as a rule, is that of the last evaluated round, never of the best one, which would
be chosen on test data. On a domain it is that of the clients' own models, on all their samples; on
a domain that no client tests, that of the global model. A frame of history has the columns of
`read_history`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from fedlab.metrics.metric_set import ACCURACY_SCORE, Score
from fedlab.runs import metrics
from fedlab.runs.curves import at_round, costs, learning_curves

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunOutcome:
    """The results of one run.

    Attributes:
        history: The run's history.
        round: The last evaluated round.
        domains: The score on each domain, accuracy as a rule.
        spread: How it is spread over clients; None if no client was tested.
        traffic: Bytes up and down in all rounds.
        seconds: Seconds of all rounds.
        virtual: Virtual seconds of all rounds; None for a run without devices.
        steps: Optimiser steps of a client in a round, on average.
        up: Bytes that a client sends up in a round, on average.
        down: Bytes that go down to a client in a round, on average, evaluation included.
        held_out: The mean over held-out clients (never trained); NaN where there are none.
        adapted: The same after a few steps on their own samples.
        unequal: Whether clients have learnt from different numbers of samples.
    """

    history: pandas.DataFrame = field(repr=False)
    round: int
    domains: Mapping[str, float]
    spread: metrics.Spread | None
    traffic: float
    seconds: float
    virtual: float | None
    steps: float = math.nan
    up: float = math.nan
    down: float = math.nan
    unequal: bool = False
    held_out: float = math.nan
    adapted: float = math.nan

    @property
    def mean(self) -> float:
        """Mean over domains, each counting the same; NaN where one of them was not measured."""
        return float(np.mean(list(self.domains.values())))


@dataclass(frozen=True)
class Estimate:
    """A number over seeds.

    Attributes:
        mean: Mean over seeds; NaN where there is none, or a seed lacks the number.
        deviation: Standard deviation over seeds (of a sample: n - 1); NaN below two seeds.
        seeds: How many there are.
    """

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class PairedDifference:
    """The difference to a reference, paired by seed, with its confidence interval.

    Attributes:
        mean: Mean of the differences by seed.
        low: Lower end of the confidence interval of this mean; NaN below two pairs.
        high: Its upper end.
        pairs: Seeds that both have.
        by_seed: The differences themselves.
    """

    mean: float
    low: float
    high: float
    pairs: int
    by_seed: tuple[float, ...] = ()


def outcome(history: pandas.DataFrame, score: Score = ACCURACY_SCORE) -> RunOutcome | None:
    """A run's results by a score; None if no round was evaluated."""
    last = metrics.last_evaluated_round(history)
    if last is None:
        return None
    curves = learning_curves(history, score.name)
    spent, times = costs(history), metrics.virtual_time(history)
    return RunOutcome(
        history=history,
        round=last,
        domains={str(domain): at_round(curves[domain], last) for domain in curves},
        spread=metrics.spread_in(history, last, score),
        traffic=float(spent["bytes"].iloc[-1]) if len(spent) else 0.0,
        seconds=float(spent["seconds"].iloc[-1]) if len(spent) else 0.0,
        virtual=float(times.iloc[-1]) if len(times) else None,
        steps=metrics.mean_steps(history),
        up=metrics.bytes_per_client(history, "up"),
        down=metrics.bytes_per_client(history, "down"),
        unequal=metrics.unequal_clients(history),
        held_out=_mean(metrics.generalisation(history, last, score)),
        adapted=_mean(metrics.generalisation(history, last, score, adapted=True)),
    )


def _mean(spread: metrics.Spread | None) -> float:
    return math.nan if spread is None else spread.mean_over_clients


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard deviation over seeds; a NaN among the values makes both NaN."""
    numbers = np.asarray(values, dtype=float)
    mean = float(numbers.mean()) if len(numbers) else math.nan
    deviation = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    return Estimate(mean, deviation, len(numbers))


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], confidence: float = 0.95
) -> PairedDifference:
    """The mean difference to a reference over the seeds that both have, with its interval.

    Runs of one seed share data, partition and initial weights, so that the common effect of the
    seed cancels in their difference. The interval is Student's: mean ± t · s / √n, s the standard
    deviation of the n differences and t the quantile of n - 1 degrees of freedom.

    Args:
        values: A number by seed.
        reference: The same number of what is compared with, by seed.
        confidence: Share of such intervals that hold the true mean difference, if differences
            are normal.
    """
    shared = [seed for seed in values if seed in reference]
    each = tuple(values[seed] - reference[seed] for seed in shared)
    differences = estimate(each)
    quantile = float(stdtrit(max(len(shared) - 1, 1), (1 + confidence) / 2))
    margin = quantile * differences.deviation / math.sqrt(max(len(shared), 1))
    mean = differences.mean
    return PairedDifference(mean, mean - margin, mean + margin, len(shared), each)
