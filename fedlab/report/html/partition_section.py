"""The section on the partition."""

from __future__ import annotations

import numpy as np

from fedlab.comparison.comparison import Comparison
from fedlab.data.samples import FederatedData
from fedlab.errors import InputError
from fedlab.partition.partition import Partition
from fedlab.preparation import divide
from fedlab.report.html.figure import Figure, Numbers, PageSection
from fedlab.report.html.format import plural
from fedlab.report.html.partition_chart import FEW, class_chart, domain_chart, pick
from fedlab.report.partition_measures import (
    class_counts,
    domain_counts,
    known_labels,
    label_distances,
)
from fedlab.report.skew_numbers import skew_numbers

ROWS = 20
"""Clients that a table shows."""
BESIDE = 8
"""Clients up to which both pictures stand side by side."""


def partition(comparison: Comparison) -> tuple[PageSection, tuple[str, ...], tuple[str, ...]]:
    """The section with clients by class and by domain, and the names of domains and classes.

    The partition is that of the first run; methods that pool clients (centralised training) are
    ignored.
    """
    scenario = comparison.runs[0].scenario
    try:
        data, divided = divide(scenario)
    except (InputError, OSError) as error:
        missing = f"The data cannot be loaded here, so there is no picture of them. {error}"
        return PageSection("data", "Data", missing=missing), (), ()
    names = data.domain_names, data.strata_names
    section = PageSection("data", "Data", _say(comparison, divided, data), _figures(divided, data))
    return section, *names


def _say(comparison: Comparison, divided: Partition, data: FederatedData) -> str:
    distance = float(label_distances(class_counts(divided, data)).mean())
    parts = [
        f"{plural(len(divided), 'client')} with {len(divided.train):,} training and "
        f"{len(divided.test):,} test samples of {plural(len(data.seen_domains), 'domain')} and "
        f"{len(data.class_names):,} {data.target.nouns[len(data.class_names) != 1]}."
    ]
    if len(divided.validation):
        parts.append(f"{len(divided.validation):,} training samples are set aside for validation.")
    if known := known_labels(divided, data):
        parts.append(f"Of training samples: {', '.join(known)}.")
    parts.append(
        f"Mean label skew is {distance:.2f}: the share of a client's samples that would have to "
        f"change {data.target.strata_nouns[0]} for its labels to be spread like those of all."
    )
    numbers = skew_numbers(class_counts(divided, data))
    parts.append(
        "In one number each: "
        + ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
        + "."
    )
    if data.unseen_domains:
        unseen = ", ".join(data.domain_names[index] for index in data.unseen_domains)
        parts.append(f"No client has samples of {unseen}.")
    if len(comparison.seeds) > 1:
        parts.append(f"Shown is seed {comparison.runs[0].scenario.seed}; other seeds draw anew.")
    return " ".join(parts)


def _figures(divided: Partition, data: FederatedData) -> list[Figure]:
    classes, domains = class_counts(divided, data), domain_counts(divided, data)
    shown = pick(classes, domains)
    some = f", {len(shown)} of {len(divided):,} shown" if len(shown) < len(divided) else ""
    own, mine = classes[shown], domains[shown]
    few = len(shown) <= FEW
    beside = len(shown) <= BESIDE and len(data.strata_names) <= 20
    noun = data.target.strata_nouns[0]
    how = (
        f"Area in proportion to samples, largest {own.max():,}; colour of the client's main domain"
        if few
        else f"The deeper the colour, the larger the {noun}'s share of the client's samples"
    )
    return [
        Figure(
            f"Clients by {noun}{some}",
            class_chart(
                own,
                mine.argmax(axis=1),
                data.strata_names,
                label=f"Training samples of {len(shown)} clients by {noun}",
            ),
            how,
            _numbers(classes, data.strata_names, divided),
            wide=not beside,
        ),
        Figure(
            f"Clients by domain{some}",
            domain_chart(
                mine,
                20.0 * len(data.strata_names) if beside else 140.0,
                label=f"Training samples of {len(shown)} clients by domain",
            ),
            "Training samples",
            _numbers(domains, data.domain_names, divided),
            wide=not beside,
        ),
    ]


def _numbers(counts: np.ndarray, names: tuple[str, ...], divided: Partition) -> Numbers:
    def who(client: int) -> str:
        return divided.name(client) if divided.names else f"client {client}"

    rows = [
        [who(client), *(f"{number:,}" for number in own), f"{own.sum():,}"]
        for client, own in enumerate(counts[:ROWS])
    ]
    total = counts.sum(axis=0)
    rows.append(["all clients", *(f"{number:,}" for number in total), f"{total.sum():,}"])
    return Numbers(["training samples", *names, "all"], rows)
