"""A device's own samples, in place of the scenario's data sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedlab.data.data_checks import comparable
from fedlab.data.image_tree import has_classes
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData, Samples
from fedlab.data.text_rows import PLAIN, TABLES
from fedlab.errors import InputError
from fedlab.partition.partition import Partition
from fedlab.partition.validation import of_clients
from fedlab.rng import generator
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.targets.base import CLASS

Values = dict[str, Any]


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
        labels = self.data.train.labels[train]
        drawing = generator(self.scenario.seed, "partition", "label budget", client)
        owners = np.zeros(len(labels), np.int64)
        strata = self.data.strata(self.data.train)[train]
        budget = self.scenario.partition.label_budget
        labelled = budget.mask(strata, owners, len(self.data.strata_names), drawing)
        bags = np.zeros(0, np.int64)
        if proportions := self.scenario.partition.label_proportions:
            drawing = generator(self.scenario.seed, "partition", "bags", client)
            classes = len(self.data.class_names)
            labels, labelled, bags = proportions.draw(labels, labelled, owners, classes, drawing)
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
) -> OwnData:
    """Loads a device's samples and checks that they fit the scenario.

    Args:
        values: The scenario's plain values, as the server has sent them.
        path: An image folder, a ``.npz`` or ``.csv`` file, a file of texts, or a root of
            torchvision's.
        domain: Name of the domain; by default that of the file, the folder or the data set.
        classes: The scenario's classes.
        shape: Shape of its samples.

    Raises:
        InputError: If the data cannot be read or do not fit; the text says what is wrong.
    """
    data_block = dict(values["data"])
    source = own_source(path, domain, data_block["sources"])
    data_block |= {"sources": [source], "domains": None, "unseen_domains": []}
    scenario = load_scenario({**values, "data": data_block})
    try:
        data = load_data(scenario.data)
    except InputError as error:  # the device's user knows no data.sources, but --data
        raise InputError(str(error).replace("data.sources.0", "--data")) from error
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


def own_source(path: Path, domain: str | None, sources: Sequence[Values]) -> Values:
    """The values of a source that reads a path.

    Where the scenario has a source of the same kind, its parameters (the array's names in a file,
    the label's column, the share that is tested) hold for the device's data, too.

    Raises:
        InputError: If it cannot be told what the path is.
    """
    path = path.expanduser().absolute()
    if path.is_file() and path.suffix == ".npz":
        name = domain or path.stem
        known = _known("npz", name, sources)
        known.pop("files", None)
        return known | {"name": "npz", "path": str(path), "domain": name}
    is_table = not any(source["name"] == "text" for source in sources)
    if path.is_file() and path.suffix == ".csv" and is_table:
        name = domain or path.stem
        return _of_one_domain("csv", name, sources) | {"name": "csv", "files": {name: str(path)}}
    if path.is_file() and path.suffix == ".parquet" and any(map(_is_parquet, sources)):
        name = domain or path.stem
        known = _of_one_domain("parquet", name, sources) | {"test": []}
        return known | {"name": "parquet", "domain": name, "train": [str(path)]}
    if path.is_file() and path.suffix in (*TABLES, PLAIN):
        name = domain or path.stem
        known = _known("text", name, sources)
        known |= {"path": None, "domain_column": None}
        return known | {"name": "text", "files": {name: str(path)}}
    if path.is_dir():
        found = _data_set(path, domain, sources)
        if found:
            name = domain or found.lower()
            known = _known("torchvision", name, sources)
            return known | {
                "name": "torchvision",
                "dataset": found,
                "root": str(path),
                "domain": name,
            }
        if has_classes(path):
            name = domain or path.name
            known = _known("image_folder", name, sources) | {"domains": None}
            return known | {"name": "image_folder", "path": str(path), "domain": name}
    is_there = "is neither" if path.exists() else "is not there; name"
    raise InputError(
        f"--data: '{path}' {is_there} a .npz or .csv file, a folder with a folder of images for "
        "each class, a file of texts (.jsonl, .parquet, .txt), or one that torchvision reads "
        "(MNIST, USPS, SVHN, CIFAR10, ...)"
    )


def _is_parquet(source: Values) -> bool:
    return source["name"] == "parquet"


def _of_one_domain(kind: str, domain: str, sources: Sequence[Values]) -> Values:
    """As `_known`; a column that names domains is left out, for the device is of one."""
    known = _known(kind, domain, sources)
    column = known.pop("domain_column", None)
    ignored = [] if column is None else [column]
    return known | {"ignore": [*known.get("ignore", ()), *ignored]}


def _known(kind: str, domain: str, sources: Sequence[Values]) -> Values:
    """The parameters of the scenario's source of a kind; that of the domain, if there is one."""
    alike = [source for source in sources if source["name"] == kind]
    for source in alike:
        listed = source.get("files")
        domains = listed if isinstance(listed, dict) else ()
        if domain in (source.get("domain"), *domains):
            alike.insert(0, source)
            break
    chosen = alike[0] if alike else {}
    made = ("make_domains", "share_samples")  # a device has real domains
    return {key: value for key, value in chosen.items() if key not in made}


def _data_set(path: Path, domain: str | None, sources: Sequence[Values]) -> str | None:
    """The torchvision data set in a folder."""
    from fedlab.data.torchvision_source import EXPECTED  # torchvision takes seconds to import

    first = {name: pattern.partition("{")[0] for name, pattern in EXPECTED.items()}
    files = {"USPS": "usps.bz2", "SVHN": "train_32x32.mat"}
    found = [name for name in EXPECTED if (path / files.get(name, first[name])).exists()]
    if len(found) <= 1:
        return found[0] if found else None
    meant = [
        source["dataset"]
        for source in sources
        if source["name"] == "torchvision"
        and domain in (source.get("domain"), source["dataset"].lower())
    ]
    if len(meant) == 1 and meant[0] in found:
        return meant[0]
    raise InputError(
        f"--data: '{path}' has several data sets ({', '.join(found)}); say which with --domain, by "
        "its name in lower case, or give each a folder"
    )


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
        raise InputError(
            f"--data: '{path}' has the class{'es' * (len(unknown) > 1)} {shown}, which the "
            f"scenario lacks; its classes are {', '.join(classes[:20])}: leave these samples out, "
            "or name the class as the scenario does"
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
