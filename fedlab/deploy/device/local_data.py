"""A device's own samples, in place of the scenario's data sources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedlab.data.data_checks import comparable
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData, Samples
from fedlab.deploy.device.own_columns import features_in_order, with_named_label
from fedlab.deploy.device.own_source import own_source
from fedlab.errors import InputError
from fedlab.partition.observed_labels import observed_labels
from fedlab.partition.partition import Partition
from fedlab.partition.validation import of_clients
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.targets.base import CLASS


class OwnDataError(InputError):
    """A device's own data cannot be used.

    Args:
        text: What is wrong, for the device's user; it may quote the data.
        outside: What the server is sent of it, without a word of the data.
    """

    def __init__(self, text: str, outside: str) -> None:
        super().__init__(text)
        self.outside = outside


@dataclass(frozen=True)
class OwnData:
    """A device's samples and its view of the scenario.

    Attributes:
        scenario: The scenario, with the device's own source.
        data: Its samples; their one domain has index 0.
    """

    scenario: Scenario
    data: FederatedData

    @property
    def domain(self) -> str:
        """Name of the domain that the samples belong to."""
        return self.data.domain_names[0]

    def partition(self, client: int, clients: int) -> Partition:
        """The partition in which all samples belong to one client.

        Of the skews that a scenario can make, a device has its own; only a label budget is drawn,
        for methods that are to learn from few labels, bags that hide labels, and what is set aside
        for validation.
        """
        share = self.scenario.evaluation.validation_share
        train, aside = np.arange(len(self.data.train)), np.zeros(0, np.int64)
        if share:
            strata = self.data.strata(self.data.train)
            owners = np.full(len(strata), client)
            chosen = of_clients(owners, strata, share, self.scenario.seed)
            train, aside = train[~chosen], train[chosen]
        owner = np.zeros(len(train), np.int64)
        spec, seed = self.scenario.partition, self.scenario.seed
        labels, labelled, bags = observed_labels(spec, self.data, train, owner, 1, seed, client)
        test = np.arange(len(self.data.test))
        steps = np.arange(clients + 1) > client
        return Partition(
            train=train,
            labels=labels,
            labelled=labelled,
            train_offsets=steps * len(train),
            test=test,
            test_offsets=steps * len(test),
            validation=aside,
            validation_offsets=steps * len(aside) if share else aside,
            bags=bags,
        )


def load_own_data(
    values: Mapping[str, Any],
    path: Path,
    domain: str | None,
    classes: Sequence[str],
    shape: tuple[int, ...],
    features: Sequence[str] = (),
) -> OwnData:
    """Loads a device's samples and checks that they fit the scenario.

    Args:
        values: The scenario's plain values, as the server has sent them.
        path: A file or folder that `own_source` knows.
        domain: Name of the domain; by default that of the file, the folder or the data set.
        classes: The scenario's classes.
        shape: Shape of its samples.
        features: Names of their features, in the order in which the network gets them; empty where
            they have none.

    Raises:
        InputError: If the data cannot be read or do not fit; the text says what is wrong.
        OwnDataError: If that text quotes them.
    """
    data_block = dict(values["data"])
    source = with_named_label(own_source(path, domain, data_block["sources"]), features)
    data_block |= {"sources": [source], "domains": None, "unseen_domains": []}
    try:
        scenario = load_scenario({**values, "data": data_block})
        data = load_data(scenario.data, single_client=True)
    except InputError as error:  # the device's user knows no data.sources, but --data
        # Keys of the source are the scenario's, which only the server's user can change.
        text = re.sub(r"set data\.sources\.0\.", "let the server's scenario set ", str(error))
        outside = "its data cannot be read as the scenario asks; its own output says why"
        raise OwnDataError(text.replace("data.sources.0", "--data"), outside) from error
    data = features_in_order(data, features, path)
    if data.input_shape != shape:
        raise InputError(
            f"--data: samples of '{path}' have the shape {data.input_shape} and the scenario's "
            f"have {shape}; give it {_kind(shape)}"
        )
    return OwnData(scenario, _in_order(data, classes, path))


def with_own_weights(values: Mapping[str, Any], file: Path | None) -> Mapping[str, Any]:
    """The scenario's values with the device's own copy of a file of weights; still the same bytes.

    Args:
        values: The scenario's plain values, as the server has sent them.
        file: The device's file; None if it is where the scenario says.

    Raises:
        InputError: If the scenario starts from no file.
    """
    if file is None:
        return values
    model = values.get("model")
    weights = model.get("weights") if isinstance(model, dict) else None
    if not isinstance(weights, dict) or not weights.get("digest"):
        raise InputError(
            "--weights: the server's scenario starts from no file of weights; leave it out"
        )
    own = {**weights, "file": str(file.expanduser().absolute())}
    return {**values, "model": {**values["model"], "weights": own}}


def _in_order(data: FederatedData, classes: Sequence[str], path: Path) -> FederatedData:
    """The same samples, with labels as indices of the scenario's classes."""
    places = {name: place for place, name in enumerate(comparable(classes))}
    own = comparable(data.class_names)
    if data.target.kind != CLASS:
        return _columns_in_order(data, classes, path)
    used = np.union1d(data.train.labels, data.test.labels)
    unknown = [data.class_names[label] for label in used if own[label] not in places]
    if unknown:
        shown = ", ".join(f"'{name}'" for name in unknown[:5])
        known = f"which the scenario lacks; its classes are {', '.join(classes[:20])}"
        plural = "es" * (len(unknown) > 1)
        raise OwnDataError(
            f"--data: '{path}' has the class{plural} {shown}, {known}: leave these samples out, or "
            "name the class as the scenario does",
            f"its data have {len(unknown)} class{plural}, {known}",
        )
    order = np.array([places.get(name, -1) for name in own])

    def relabelled(samples: Samples) -> Samples:
        return replace(samples, labels=order[samples.labels])

    return replace(
        data,
        train=relabelled(data.train),
        test=relabelled(data.test),
        class_names=tuple(classes),
    )


def _columns_in_order(data: FederatedData, names: Sequence[str], path: Path) -> FederatedData:
    """The same samples with the columns of their labels in the scenario's order."""
    own, wanted = comparable(data.class_names), comparable(names)
    if sorted(own) != sorted(wanted):
        noun = data.target.nouns[1]
        raise InputError(
            f"--data: '{path}' has the {noun} {', '.join(own[:20])}, and the scenario's are "
            f"{', '.join(wanted[:20])}; name the columns as the scenario does"
        )
    order = [own.index(name) for name in wanted]
    train, test = (replace(s, labels=s.labels[:, order]) for s in (data.train, data.test))
    return replace(data, train=train, test=test, class_names=tuple(names))


def _kind(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"a table with {shape[0]} features"
    if len(shape) != 3:
        return f"samples of that shape, {', '.join(map(str, shape))}"
    return f"images; they are brought to {shape[0]} channel(s) and {shape[1]} x {shape[2]} pixels"
