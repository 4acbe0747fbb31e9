"""A client's reply to an evaluation message: means and metric counts by domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from flwr.app import ArrayRecord, Message

from fedlab.federation.client_updates import client_of
from fedlab.federation.record_layout import Form
from fedlab.metrics.base import Counts, Metric
from fedlab.records import from_record, to_record
from fedlab.targets.base import Target

COUNTS = "fedlab.counts"
"""The record of counts: an array ``<metric>/<name>`` for each, of shape (domains, ...)."""

ADAPT_STEPS = "adapt-steps"
"""The value of a message to test that has a client adapt the model first, in so many steps."""


class Tested(NamedTuple):
    """The result of a client on a domain.

    Attributes:
        client: The client's index.
        domain: The domain's name.
        examples: Test samples.
        means: Metrics that every test has: of classes, accuracy and loss.
        counts: Counts of the other metrics, by their titles.
    """

    client: int
    domain: str
    examples: int
    means: Mapping[str, float]
    counts: Mapping[str, Counts]


def counts_record(domains: Sequence[Mapping[str, Counts]]) -> ArrayRecord:
    """The metrics' counts as the record that goes up.

    Args:
        domains: The counts on each domain, by the metric's title; at least one.
    """
    return to_record(
        {
            f"{title}/{name}": torch.stack([each[title][name] for each in domains])
            for title, counts in domains[0].items()
            for name in counts
        }
    )


def counts_layout(
    metrics: Iterable[Metric], classes: int, most: int, target: Target
) -> dict[str, Form]:
    """The layout of the record of counts of a device with one domain.

    Args:
        metrics: The metrics with counts.
        classes: Number of classes, or of outputs.
        most: Test samples of the device, the upper bound of integer counts.
        target: What is learnt.
    """
    outputs = target.readable(torch.zeros(0, classes))
    labels = target.example(0, classes)
    layout = {}
    for metric in metrics:
        for name, tensor in metric.count(outputs, labels).items():
            form = Form.of(tensor[None])
            if tensor.dtype == torch.int64:
                form = replace(form, low=0.0, high=float(most))
            layout[f"{metric.title}/{name}"] = form
    return layout


def read_tests(replies: Iterable[Message]) -> list[Tested]:
    """The results in replies to a test, client after client and domain after domain."""
    return [tested for reply in replies if reply.has_content() for tested in _tests_of(reply)]


def _tests_of(reply: Message) -> Iterable[Tested]:
    domains: Any = reply.content.get("domains")
    if domains is None:
        return
    record: Any = reply.content.get(COUNTS)
    arrays = from_record(record) if record is not None else {}
    for place, domain in enumerate(domains["domain"]):
        counts: dict[str, Counts] = {}
        for key, tensor in arrays.items():
            title, _, name = key.rpartition("/")
            counts.setdefault(title, {})[name] = tensor[place]
        metrics = [key for key in domains if key not in ("domain", "examples")]
        means = {metric: float(domains[metric][place]) for metric in metrics}
        examples = int(domains["examples"][place])
        yield Tested(client_of(reply), domain, examples, means, counts)
