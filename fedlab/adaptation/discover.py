"""Classes of a run whose clients know no class: found by what shifts together between clients.

See `fedlab.adaptation.latent_classes` for the paper and the arithmetic. The run has trained the
discriminator p(client | x) (`partition.known_label: client`) by any method with a global model.
What follows are cells by federated k-means, one histogram of each client, a factorisation on the
server, and p(class | x, client) at each client.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fedlab.adaptation.latent_classes import (
    Factors,
    anchored,
    class_chances,
    factorise,
    federated_k_means,
    histograms,
    in_domain,
    matched,
    without_prior,
)
from fedlab.adaptation.trained import Trained, open_classifier
from fedlab.errors import InputError
from fedlab.partition.partition import Partition
from fedlab.preparation import divide
from fedlab.records import Tensors
from fedlab.runs.client_names import with_owners
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

Factorisation = Literal["anchors", "nmf"]

LEAST = 0.25
"""Smallest share of samples of an anchor's cell, in shares of what a cell has in the mean."""

FLOAT = 8
"""Bytes of a number of what clients send and are sent."""


class Discovered(NamedTuple):
    """Classes that were found.

    Attributes:
        samples: A row for each test sample: ``client``, ``sample`` (its place in the test pool),
            ``found`` (the class that it is given, by the name of the true one that stands for it),
            ``confidence`` and ``class`` (the true one).
        priors: A row for each client and class: ``client``, ``class``, ``true`` share of training
            samples and ``estimate``.
        factors: What the server has found.
        matching: The true class that stands for each found one, shape (classes,).
        bytes_up: Bytes that each client has sent after the run, without those of the rounds.
        bytes_down: What it has been sent.
    """

    samples: pandas.DataFrame
    priors: pandas.DataFrame
    factors: Factors
    matching: np.ndarray
    bytes_up: int
    bytes_down: int

    @property
    def accuracy(self) -> float:
        """Share of test samples that are given the right class."""
        return float((self.samples["found"] == self.samples["class"]).mean())

    @property
    def prior_error(self) -> float:
        """Mean over clients of the sum over classes of how far the estimated share is off."""
        apart = (self.priors["true"] - self.priors["estimate"]).abs()
        return float(apart.groupby(self.priors["client"]).sum().mean())


def discover(
    run: Run,
    *,
    classes: int | None = None,
    cells: int | None = None,
    factors: Factorisation = "anchors",
    starts: int | None = None,
) -> Discovered:
    """Finds classes, and gives each client's test samples one.

    True classes are used for the score alone: found ones are matched to them such that most test
    samples are right.

    Args:
        run: A finished run with ``partition.known_label: client``.
        classes: How many to find; as many as the data have by default.
        cells: Cells of k-means; half as many again as classes by default.
        factors: ``anchors``, the factorisation of which each class has a cell to itself; or
            ``nmf``, as in the paper, which is one of many where classes overlap in all clients.
        starts: Starts of ``nmf``; 10 by default.

    Raises:
        InputError: If the run has not finished, knows classes, has no global model, or has fewer
            clients than classes.
    """
    import pandas

    scenario = run.scenario
    if scenario.partition.known_label != "client":
        raise InputError(
            f"the clients of the run '{run.folder}' know classes, so that there are none to find; "
            "take a run with partition.known_label=client"
        )
    trained = open_classifier(run, "discover classes with", "clients are predicted as classes are")
    data, partition = divide(scenario)
    names = data.class_names
    wanted = len(names) if classes is None else classes
    many = math.ceil(1.5 * wanted) if cells is None else cells
    clients = len(partition)
    if not 2 <= wanted <= min(clients, len(names)):
        raise InputError(
            f"--classes: {wanted} cannot be found from what shifts between {clients} clients of "
            f"data with {len(names)} classes; ask for 2 to {min(clients, len(names))}, or train "
            "with more clients"
        )
    if starts is not None and factors != "nmf":
        raise InputError("--starts: --factors anchors has no random starts, nmf has; leave it out")
    if many < wanted:
        raise InputError(f"--cells: {many} are fewer than {wanted} classes; ask for more")
    model, prior = trained.model(None), _prior(trained)
    outside = [_chances(trained, model, prior, client, "train") for client in range(clients)]
    found = federated_k_means(outside, many, seed=scenario.seed)
    shares = histograms(outside, found.centres)
    if factors == "nmf":
        parts = factorise(shares, wanted, seed=scenario.seed, starts=starts or 10)
    else:
        parts = anchored(shares, wanted, least=LEAST / many)
    rows, given, sure, owners = [], [], [], []
    for client in range(clients):
        own = partition[client].test
        chances = class_chances(_chances(trained, model, prior, client, "test"), parts.priors)
        here = in_domain(chances, parts.priors, client)
        rows.append(own)
        given.append(here.argmax(axis=1))
        sure.append(here.max(axis=1))
        owners.append(np.full(len(own), client))
    places, labels = np.concatenate(rows), np.concatenate(given)
    true = data.test.labels[places]
    matching = matched(labels, true, len(names))
    samples = pandas.DataFrame(
        {
            "client": np.concatenate(owners),
            "sample": places,
            "found": [names[label] for label in matching[labels]],
            "confidence": np.concatenate(sure),
            "class": [names[label] for label in true],
        }
    )
    steps, width = found.steps, clients
    return Discovered(
        with_owners(samples, run.client_names),
        with_owners(
            _prior_table(data.train.labels, partition, parts.priors, matching, names),
            run.client_names,
        ),
        parts,
        matching,
        bytes_up=FLOAT * (steps * many * (width + 1) + many),
        bytes_down=FLOAT * (steps * many * width + width * wanted),
    )


def _prior(trained: Trained) -> np.ndarray:
    """p(client) among what the discriminator was trained on, shape (clients,)."""
    scenario, partition = trained.runtime.scenario, trained.runtime.partition
    sizes = np.diff(partition.train_offsets).astype(np.float64)
    if scenario.strategy.clients_count != "examples":
        sizes = np.ones_like(sizes)
    return sizes / sizes.sum()


def _chances(
    trained: Trained, model: Tensors, prior: np.ndarray, client: int, split: str
) -> np.ndarray:
    """p(client | x) of a client's samples, clients equally frequent, shape (n, clients)."""
    own, pools = trained.runtime.partition[client], trained.runtime.data
    pool = pools.train if split == "train" else pools.test
    rows = np.concatenate([own.train, own.validation]) if split == "train" else own.test
    if not len(rows):
        return np.zeros((0, len(prior)))
    outputs = trained.outputs(model, pool, rows).double()
    return without_prior(outputs.softmax(dim=1).numpy(), prior)


def _prior_table(
    labels: np.ndarray,
    partition: Partition,
    estimated: np.ndarray,
    matching: np.ndarray,
    names: Sequence[str],
) -> pandas.DataFrame:
    """True and estimated shares of classes of each client; `estimated` is (classes, clients)."""
    import pandas

    rows: list[tuple[int, str, float, float]] = []
    for client in range(len(partition)):
        true = np.bincount(labels[partition[client].train], minlength=len(names))
        shares = np.zeros(len(names))
        shares[matching[: len(estimated)]] = estimated[:, client]
        pairs = zip(names, true / true.sum(), shares, strict=True)
        rows += [(client, name, float(one), float(other)) for name, one, other in pairs]
    return pandas.DataFrame(rows, columns=["client", "class", "true", "estimate"])
