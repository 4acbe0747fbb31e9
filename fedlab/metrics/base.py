"""The base of metrics: counts of samples, which are summed, and figures computed from them."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

import torch

from fedlab.config.component import Component
from fedlab.config.defaults import chosen
from fedlab.config.yaml_text import in_words
from fedlab.errors import InputError
from fedlab.targets.base import ONLY_CLASS, Target

Counts = dict[str, torch.Tensor]
"""Named sums over samples, int64 or float64; those of two sets add up to those of both together."""


class Metric(Component):
    """A block of ``evaluation.metrics``: what is counted of samples, and the figures of a count.

    A figure is computed once, of counts that were summed over all samples that it is about: those
    of a client, of a domain, or of all clients. It is never a mean of clients' figures.
    """

    group: ClassVar[str] = "metrics"
    targets: ClassVar[frozenset[str]] = ONLY_CLASS
    """The kinds of `data.target` that it goes with."""
    higher_is_better: ClassVar[bool] = True
    """Which way is better."""
    share: ClassVar[bool] = True
    """Whether the figure is between 0 and 1, so that tables show it in per cent."""
    scalar: ClassVar[bool] = True
    """Whether there is one figure, of the name `title`; the first metric of a scenario needs it."""
    of_clients: ClassVar[bool] = True
    """Whether the history has it for each client, or for domains and all clients together alone."""
    counts_kept: ClassVar[bool] = False
    """Whether the counts of domains themselves are kept with the run, in ``counts.csv``."""

    called: ClassVar[str] = ""
    """What a reader calls it, where it is not its name: an acronym."""

    @cached_property
    def title(self) -> str:
        """The figure's name in the history: the metric's name and parameters, defaults left out."""
        return "_".join([self._base, *(in_words(value) for value in chosen(self).values())])

    @property
    def words(self) -> str:
        """The name in tables and figures."""
        return self.title.replace(self._base, self.called or self._base, 1).replace("_", " ")

    @property
    def _base(self) -> str:
        return self.name.rpartition(":")[2].rpartition(".")[2]

    def check(self, classes: int) -> None:
        """Refuses a task that the metric does not support; by default none.

        Args:
            classes: Number of classes.

        Raises:
            InputError: With the remedy.
        """

    def on(self, target: Target) -> Metric:
        """The same metric where a target's fit is known; its counts mean the same.

        Args:
            target: As fitted to the training samples.
        """
        return self

    @abstractmethod
    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """Sums over samples. Their names, shapes and types are the same for any number of samples.

        Args:
            outputs: Logits, float32 of shape (n, classes), on the CPU; n may be 0. Of a regression
                float64 of shape (n, targets), in the units of the data.
            labels: int64 of shape (n,) for classes; uint8 of shape (n, labels), 0 or 1, where
                labels are learnt; float64 of shape (n, targets) for a regression.
        """

    @abstractmethod
    def compute(self, counts: Counts) -> dict[str, float]:
        """Figures by name (`title`, or names that begin with it); NaN where one is not defined.

        Args:
            counts: Those of all samples that the figures are about; also of none.
        """


class SampleMean(Metric):
    """A metric whose figure is the mean of a number of each sample.

    These alone may be averaged over clients, by examples, to get the figure of all their samples.
    """

    @abstractmethod
    def values(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The number of each sample, bool or float32 of shape (n,)."""

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> Counts:
        """The sum of the numbers, in double precision, and how many there are."""
        values = self.values(outputs, labels)
        if values.shape != labels.shape[:1]:
            raise InputError(
                f"{type(self).__qualname__}.values gives the shape {tuple(values.shape)} for "
                f"{len(labels)} samples; give one number for each"
            )
        total = values.sum() if values.dtype == torch.bool else values.double().sum()
        return {"total": total, "samples": torch.tensor(len(labels))}

    def compute(self, counts: Counts) -> dict[str, float]:
        """Their mean."""
        return {self.title: ratio(float(counts["total"]), float(counts["samples"]))}


def ratio(part: float, whole: float) -> float:
    """A quotient; NaN for 0 / 0."""
    return part / whole if whole else math.nan


def chances(outputs: torch.Tensor) -> torch.Tensor:
    """Softmax of logits, float32 of shape (n, classes).

    In single precision, so that sums of them in double precision are exact for millions of samples
    and do not depend on the order in which clients are added.
    """
    return torch.softmax(outputs.float(), dim=-1)
