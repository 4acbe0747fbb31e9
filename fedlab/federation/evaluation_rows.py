"""Results of tests -> rows of the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from flwr.app import MetricRecord

from fedlab.federation.evaluation_reply import Tested
from fedlab.metrics.base import Counts, Metric, SampleMean
from fedlab.metrics.metric_set import MetricSet, summed
from fedlab.row import GLOBAL, POOLED, CountRow, Row, Split

K = TypeVar("K")


class CentralTest(MetricRecord):
    """The global model's figures on whole domains, by ``domain/metric``, with the metrics' counts.

    Attributes:
        tests: The results that the figures follow from.
    """

    def __init__(self, tests: Sequence[Tested], metrics: MetricSet) -> None:
        super().__init__()
        self.tests = tests
        for tested in tests:
            self[f"{tested.domain}/num-examples"] = tested.examples
            for name, value in figures_of(tested, metrics.metrics).items():
                self[f"{tested.domain}/{name}"] = value


def figures_of(tested: Tested, metrics: Iterable[Metric]) -> dict[str, float]:
    """The figures of metrics on one domain, by name."""
    found: dict[str, float] = {}
    for metric in metrics:
        if metric.title in tested.means:
            found[metric.title] = tested.means[metric.title]
        else:
            found |= metric.compute(dict(tested.counts[metric.title]))
    return found


def client_rows(
    server_round: int, tests: Sequence[Tested], metrics: MetricSet, split: Split = "test"
) -> list[Row]:
    """One row per client, domain and figure.

    A client with several domains also has a row over all of them, with an empty domain, of each
    figure that is not a mean over samples.
    """
    rows = []
    wanted = [metric for metric in metrics.metrics if metric.of_clients]
    for tested in tests:
        for name, value in figures_of(tested, wanted).items():
            where = (server_round, tested.client, tested.domain, split)
            rows.append(Row(*where, name, value, tested.examples))
    whole = [metric for metric in wanted if not isinstance(metric, SampleMean)]
    by_client = _grouped(tests, lambda tested: tested.client)
    for client, own in by_client.items():
        if len(own) > 1:
            rows += _rows((server_round, client, "", split), own, whole)
    return rows


def pooled_rows(
    server_round: int,
    tests: Sequence[Tested],
    metrics: MetricSet,
    global_model: bool,
    split: Split = "test",
    others: Sequence[Tested] = (),
) -> list[Row]:
    """The figures of all clients of a domain together.

    Args:
        server_round: The round.
        tests: Results of all clients.
        metrics: The scenario's.
        global_model: Whether they have tested the global model, and their test splits add up to
            the domains' test sets: then these figures are that model's.
        split: What they have tested on.
        others: Results of held-out clients, which belong to a domain's test set, too.
    """
    rows: list[Row] = []
    by_domain = _grouped(tests, lambda tested: tested.domain)
    together = _grouped([*tests, *others], lambda tested: tested.domain) if global_model else {}
    for domain, own in together.items():
        examples = sum(tested.examples for tested in own)
        for metric in metrics.metrics:
            if metric.title in metrics.always:
                value = sum(tested.means[metric.title] * tested.examples for tested in own)
                where = (server_round, GLOBAL, domain, split)
                rows.append(Row(*where, metric.title, value / examples, examples))
            else:
                rows += _rows((server_round, GLOBAL, domain, split), own, [metric])
    whole = [metric for metric in metrics.counted if not isinstance(metric, SampleMean)]
    if whole and tests:
        for domain, own in by_domain.items():
            rows += _rows((server_round, POOLED, domain, split), own, whole)
        rows += _rows((server_round, POOLED, "", split), tests, whole)
    return rows


def central_rows(server_round: int, record: MetricRecord) -> list[Row]:
    """The global model on each domain, from a record whose keys are ``domain/metric``."""
    rows = []
    for key, value in record.items():
        domain, _, metric = key.rpartition("/")
        if metric != "num-examples" and isinstance(value, int | float):
            examples = record.get(f"{domain}/num-examples", 0)
            rows.append(
                Row(server_round, GLOBAL, domain, "test", metric, float(value), int(examples))  # type: ignore[arg-type]
            )
    return rows


def count_rows(
    server_round: int,
    tests: Sequence[Tested],
    central: MetricRecord | None,
    metrics: MetricSet,
    split: Split = "test",
) -> list[CountRow]:
    """The kept counts: of all clients by domain, of all clients, and of the server's test."""
    kept = [metric.title for metric in metrics.counted if metric.counts_kept]
    if not kept:
        return []
    pools = {
        (POOLED, domain): own for domain, own in _grouped(tests, lambda each: each.domain).items()
    }
    if tests:
        pools[POOLED, ""] = list(tests)
    for tested in central.tests if isinstance(central, CentralTest) else ():
        pools[GLOBAL, tested.domain] = [tested]
    return [
        CountRow(server_round, client, domain, split, title, name, tuple(place), value.item())
        for (client, domain), own in pools.items()
        for title in kept
        for name, tensor in summed([dict(tested.counts[title]) for tested in own]).items()
        for place, value in _sparse(tensor)
    ]


def _sparse(tensor: torch.Tensor) -> list[tuple[list[int], torch.Tensor]]:
    """Indices and values of the non-zero elements and of the last, which preserves the shape."""
    chosen = tensor != 0
    chosen.view(-1)[-1:] = True
    return list(zip(chosen.nonzero().tolist(), tensor[chosen], strict=True))


def _rows(
    where: tuple[int, int, str, Split], tests: Sequence[Tested], metrics: Iterable[Metric]
) -> list[Row]:
    """The figures of several results together, from the sum of their counts."""
    examples = sum(tested.examples for tested in tests)
    rows = []
    for metric in metrics:
        counts: Counts = summed([dict(tested.counts[metric.title]) for tested in tests])
        for name, value in metric.compute(counts).items():
            rows.append(Row(*where, name, value, examples))
    return rows


def _grouped(tests: Iterable[Tested], key: Callable[[Tested], K]) -> dict[K, list[Tested]]:
    """Results by client or domain, in the order of first occurrence."""
    groups: dict[K, list[Tested]] = {}
    for tested in tests:
        groups.setdefault(key(tested), []).append(tested)
    return groups
