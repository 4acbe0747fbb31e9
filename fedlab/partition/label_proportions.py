"""Label proportions: clients know bags of samples, and of each the shares of the classes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import PositiveInt

from fedlab.config.component import ConfigBlock
from fedlab.data.stratify import shuffled_groups
from fedlab.errors import InputError

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class Bags(NamedTuple):
    """Samples in bags, aligned with the samples of all clients.

    Attributes:
        shares: Of each sample the share of every class in its bag, float32 of shape (N, classes);
            zeros for samples that are in none.
        known: Whether a sample is in a bag, bool of shape (N,).
        bags: Number of its bag, int64 of shape (N,); -1 for none.
    """

    shares: np.ndarray
    known: np.ndarray
    bags: np.ndarray


class LabelProportions(ConfigBlock):
    """What takes the place of labels: bags of a client's samples, and the classes' shares in each.

    Attributes:
        bag_size: Samples of a bag, drawn at random from the client's labelled samples; those that
            fill none have no label. ``client`` makes one bag of all that a client has.
    """

    bag_size: PositiveInt | Literal["client"]

    @property
    def fixed_size(self) -> int | None:
        """Samples of every bag; None where a client is one bag."""
        return None if self.bag_size == "client" else self.bag_size

    def draw(
        self,
        labels: np.ndarray,
        labelled: np.ndarray,
        owners: np.ndarray,
        classes: int,
        rng: np.random.Generator,
    ) -> Bags:
        """Puts samples into bags.

        Args:
            labels: As clients would see them, int64 of shape (N,).
            labelled: Which of them are known, bool of shape (N,).
            owners: The client of each of them, int64 of shape (N,).
            classes: Number of classes.
            rng: Source of randomness.
        """
        rows = np.flatnonzero(labelled)
        order = rows[shuffled_groups(owners[rows], rng)]
        _, starts, sizes = np.unique(owners[order], return_index=True, return_counts=True)
        each = sizes if self.fixed_size is None else np.full(len(sizes), self.fixed_size)
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        bags_of = sizes // np.maximum(each, 1)
        number = rank // np.repeat(each, sizes)
        inside = number < np.repeat(bags_of, sizes)
        number += np.repeat(np.cumsum(bags_of) - bags_of, sizes)
        bags = np.full(len(labels), -1)
        bags[order[inside]] = number[inside]
        known = bags >= 0
        cells = bags[known] * classes + labels[known]
        count = int(bags_of.sum())
        counts = np.bincount(cells, minlength=count * classes).reshape(count, classes)
        shares = np.zeros((len(labels), classes), np.float32)
        shares[known] = (counts / counts.sum(axis=1, keepdims=True))[bags[known]]
        return Bags(shares, known, bags)

    def check(self, scenario: Experiment) -> None:
        """Refuses batches that would cut bags.

        Raises:
            ValueError: With the key, the value and the remedy.
        """
        size, bag = scenario.training.batch_size, self.fixed_size
        if scenario.partition.left_out_samples:
            raise ValueError(
                "partition.left_out_samples: a bag of which a sample is left out has other shares; "
                "leave one of left_out_samples and label_proportions out"
            )
        if bag is None and size != "full":
            raise ValueError(
                f"training.batch_size: batches of {size} samples would cut the bag that "
                "partition.label_proportions.bag_size: client makes of each client's samples; use "
                "training.batch_size=full, or give bag_size a number"
            )
        if bag is not None and size != "full" and size % bag:
            fit = max(bag, size // bag * bag)
            raise ValueError(
                f"training.batch_size: {size} is no multiple of "
                f"partition.label_proportions.bag_size {bag}, and a batch holds whole bags; use "
                f"training.batch_size={fit}, or another bag_size"
            )

    def check_bags(self, bags: np.ndarray, offsets: np.ndarray, strategy: str) -> None:
        """Refuses clients with several bags where a client is to be one.

        Args:
            bags: Of all clients' samples, client after client, as the method has them.
            offsets: Where the samples of each client begin, and those of the last end.
            strategy: Name of the method.

        Raises:
            InputError: If a method pools the samples of clients.
        """
        if self.fixed_size is not None:
            return
        for own in np.split(bags, offsets[1:-1]):
            if len(np.unique(own[own >= 0])) > 1:
                raise InputError(
                    f"partition.label_proportions.bag_size: client makes one bag of each client, "
                    f"and {strategy} gives bags of different sizes to one; give bag_size a number, "
                    "or use strategy.name=fedavg"
                )
