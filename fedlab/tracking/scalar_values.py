"""Reduces a round's rows to the named numbers that trackers log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from fedlab.federation.callbacks import RoundReport
from fedlab.metrics.metric_set import MetricSet, Score
from fedlab.runs import metrics
from fedlab.runs.history import to_frame

if TYPE_CHECKING:
    import pandas


def numbers_of(
    report: RoundReport,
    trained: Collection[int] | None = None,
    scores: Sequence[Score] = tuple(MetricSet().scores.values()),
) -> dict[str, float]:
    """The numbers of a round that trackers get.

    Args:
        report: The round.
        trained: Clients that have trained in this round or before; None counts all as such.
        scores: Of tests: the scenario's metrics.

    Returns:
        Of every round: ``train/<metric>`` (mean over the clients, by examples), ``bytes/up``,
        ``bytes/down``, ``clients/trained``, ``clients/failed`` and ``seconds/<phase>``. Of an
        evaluated one also ``accuracy/mean_over_clients``, ``accuracy/worst_client``, and for
        every domain ``accuracy/<domain>`` (the clients' models) and ``global_accuracy/<domain>``
        (the global model); every other metric of the scenario likewise, the worst client of those
        alone that are shares, and all of validation with ``validation_`` in front. Where clients
        were tested that have never trained, ``clients/tested_untrained`` counts them, and
        ``accuracy/mean_over_trained_clients`` and ``accuracy/worst_trained_client`` leave them
        out. Of held-out clients there is ``held_out_accuracy/mean_over_clients``, and
        ``adapted_accuracy/mean_over_clients`` after adaptation. Numbers that do not exist are left
        out.
    """
    rows = to_frame(report.rows)
    numbers: dict[str, float] = {}
    training = rows[rows["split"] == "train"]
    for metric in training["metric"].unique():
        spread = metrics.spread(metrics.by_client(rows, report.round, metric, "train"))
        if spread:
            numbers[f"train/{metric}"] = spread.mean_over_examples
    for score in scores:
        for adapted, name in ((False, "held_out"), (True, "adapted")):
            spread = metrics.generalisation(rows, report.round, score, adapted)
            if spread:
                numbers[f"{name}_{score.name}/mean_over_clients"] = spread.mean_over_clients
        for split, prefix in (("validation", "validation_"), ("test", "")):
            tests = _tests(rows, report.round, score, trained, split)
            numbers |= {prefix + name: value for name, value in tests.items()}
    whole = rows[rows["split"] == "round"].set_index("metric")["value"]
    for name, metric in ROUND.items():
        if metric in whole:
            numbers[name] = float(whole[metric])
    numbers |= {f"seconds/{phase}": spent for phase, spent in report.seconds.items()}
    return {name: value for name, value in numbers.items() if value == value}


ROUND = {
    "bytes/up": "bytes_up",
    "bytes/down": "bytes_down",
    "clients/trained": "clients",
    "clients/failed": "failed",
}
"""Numbers of the round as a whole: what trackers call them, and what the history does."""


def _tests(
    rows: pandas.DataFrame,
    round: int,
    score: Score,
    trained: Collection[int] | None,
    split: str,
) -> dict[str, float]:
    numbers: dict[str, float] = {}
    metric = score.name
    spread = metrics.spread(metrics.by_client(rows, round, metric, split), trained, score)
    if spread:
        numbers[f"{metric}/mean_over_clients"] = spread.mean_over_clients
        if score.share:
            numbers[f"{metric}/worst_client"] = spread.worst
        if spread.untrained:
            numbers["clients/tested_untrained"] = spread.untrained
        if spread.of_trained:
            numbers[f"{metric}/mean_over_trained_clients"] = spread.of_trained.mean_over_clients
            if score.share:
                numbers[f"{metric}/worst_trained_client"] = spread.of_trained.worst
    for domain, row in metrics.by_domain(rows, round, metric, split).iterrows():
        numbers[f"{metric}/{domain}"] = float(row["clients_value"])
        numbers[f"global_{metric}/{domain}"] = float(row["global_value"])
    return numbers
