"""What of GGEUR makes its gain: one thing changed at a time, on features of EfficientNet-Lite0.

    python -m benchmarks.evidence.ggeur_apart --data DATA

Clients, features and validation samples are those of the study ``cifar-0.1``; with fewer images of
a class, each client keeps as large a share of each of its classes. Heads are trained by
`ggeur_by_hand`. For each number of images, and each kind of draws, the learning rate is the best of
four on validation of two seeds of their own; seeds that count come after that. ``central`` is one
client with all samples, whose batches are as large as those of all clients together.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas
import torch

from benchmarks import machine
from benchmarks.evidence import claim as claims
from benchmarks.evidence.evidence_rows import RESULTS
from benchmarks.evidence.ggeur_by_hand import (
    Client,
    Draws,
    accuracy,
    augmented,
    factors,
    moments,
    pooled,
    train,
)
from benchmarks.evidence.study_commands import changes
from fedlab import __version__, load_scenario, prepare

IMAGES = (100, 300, 1000)
"""Images of a class, of which a fifth is set aside."""

KINDS: tuple[Draws, ...] = ("none", "repeated", "diagonal", "full")
CENTRAL = "central"
RATES = (0.01, 0.03, 0.1, 0.3)
TUNING, COUNTED = (1000, 1001), tuple(range(8))
FILL, CLASSES, ROUNDS, STEPS, BATCH = 500, 10, 40, 20, 64
"""As in the study; classes are filled up to half of its images, in proportion."""


class Federation(NamedTuple):
    """The data of one seed.

    Attributes:
        clients: Training samples of each client.
        validation: All clients' samples that are set aside.
        test: The test set.
        noise: What `ggeur_by_hand.factors` has for each kind of draws.
    """

    clients: list[Client]
    validation: Client
    test: Client
    noise: dict[str, dict[int, np.ndarray]]


def federation(data: str, images: int, seed: int) -> Federation:
    """The data of one seed, by the engine's own partition, with so many images of a class."""
    study = claims.read("ggeur").studies["cifar-0.1"]
    prepared = prepare(
        load_scenario(
            study.scenario,
            [
                *changes(study, data),
                "evaluation.validation=0.2",
                "strategy=fedavg",
                f"seed={seed}",
            ],
        )
    )
    train_pool, test = prepared.data.train, prepared.data.test
    inputs, labels = np.asarray(train_pool.inputs), np.asarray(train_pool.labels)
    splits = [prepared.partition[client] for client in range(len(prepared.partition))]
    random = np.random.default_rng([seed, images])
    kept = [_share(split.train, labels, images / 1000, random) for split in splits]
    clients = [(inputs[rows], labels[rows]) for rows in kept]
    aside = np.concatenate([split.validation for split in splits])
    clouds = pooled([moments(client) for client in clients])
    return Federation(
        clients,
        (inputs[aside], labels[aside]),
        (np.asarray(test.inputs), np.asarray(test.labels)),
        {kind: factors(clouds, kind) for kind in KINDS},
    )


def head_of(data: Federation, kind: str, images: int, lr: float, seed: int) -> np.ndarray:
    """A head that is trained with one kind of draws."""
    random = np.random.default_rng([seed, [*KINDS, CENTRAL].index(kind)])
    if kind == CENTRAL:
        features, labels = (np.concatenate(part) for part in zip(*data.clients, strict=True))
        one = [(features, labels)]
        return train(one, CLASSES, ROUNDS, STEPS, BATCH * len(data.clients), lr, random)
    fill = FILL * images // 1000
    clients = [augmented(each, data.noise[kind], fill, random) for each in data.clients]
    return train(clients, CLASSES, ROUNDS, STEPS, BATCH, lr, random)


def _share(
    rows: np.ndarray, labels: np.ndarray, share: float, random: np.random.Generator
) -> np.ndarray:
    """A share of a client's samples of each class, at least one."""
    own = [random.permutation(rows[labels[rows] == label]) for label in np.unique(labels[rows])]
    return np.concatenate([each[: max(1, round(share * len(each)))] for each in own])


def rows(data: str, images: int) -> Iterator[dict[str, object]]:
    """The rows of one number of images."""
    tuning = {seed: federation(data, images, seed) for seed in TUNING}
    rates = {}
    for kind in (*KINDS, CENTRAL):
        scores = {
            lr: np.mean(
                [
                    accuracy(head_of(one, kind, images, lr, seed), one.validation)
                    for seed, one in tuning.items()
                ]
            )
            for lr in RATES
        }
        rates[kind] = max(scores, key=scores.__getitem__)
    for seed in COUNTED:
        one = federation(data, images, seed)
        for kind, lr in rates.items():
            yield {
                "images": images,
                "kind": kind,
                "seed": seed,
                "mean": round(accuracy(head_of(one, kind, images, lr, seed), one.test), 3),
                "lr": lr,
                "machine": machine.arithmetic(),
                "date": date.today().isoformat(),
                "version": __version__,
            }


def main() -> None:
    """Writes ``apart/ggeur.csv`` beside the rows of claims, number by number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="root of the data")
    parser.add_argument("--images", type=int, nargs="*", default=IMAGES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "apart" / "ggeur.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    for images in given.images:
        old = pandas.read_csv(file) if file.is_file() else pandas.DataFrame()
        kept = old[old["images"] != images] if len(old) else old
        found = []
        for row in rows(given.data, images):
            found.append(row)
            new = pandas.DataFrame(found)
            whole = pandas.concat([kept, new]) if len(kept) else new
            whole.sort_values("images", kind="stable").to_csv(file, index=False)
        print(pandas.DataFrame(found).groupby("kind")[["mean", "lr"]].mean(), flush=True)


if __name__ == "__main__":
    main()
