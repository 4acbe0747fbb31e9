"""The base of learning targets, the scenario's ``data.target`` block."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from fedlab.config.component import Component

CLASS, MULTI_LABEL, REGRESSION = "class", "multi_label", "regression"

PROPORTIONS = "proportions"
"""What clients learn from under ``partition.label_proportions``: shares of the classes in bags."""

ONLY_CLASS = frozenset({CLASS})
"""What goes with classes alone."""

EVERY = frozenset({CLASS, MULTI_LABEL, REGRESSION, PROPORTIONS})
"""What never looks at labels itself, and goes with all targets that are shipped."""


class Target(Component):
    """The target that is learnt for each sample.

    The network has one output for each name in ``FederatedData.class_names``: of the classes, the
    labels, or the numbers. What is found in the data (strata, mean and deviation) are parameters,
    too, so that a server can send them to devices: `fitted` fills in those that were not given.
    """

    group: ClassVar[str] = "targets"
    kind: ClassVar[str]
    """``class``, ``multi_label`` or ``regression``: what losses, metrics, sources and methods say
    that they go with; a user's target may have another kind."""
    nouns: ClassVar[tuple[str, str]]
    """What one name stands for, and several do: ``class``, ``classes``."""
    strata_nouns: ClassVar[tuple[str, str]]
    """What one stratum is called, and several are."""
    loss: ClassVar[str]
    """``training.loss`` where the scenario names none, and the ``loss`` of every test."""
    metrics: ClassVar[tuple[str, ...]]
    """``evaluation.metrics`` where the scenario names none."""
    score: ClassVar[str]
    """The metric, a mean over samples, that every step and every test has beside the loss."""
    score_is_share: ClassVar[bool] = True
    """Whether that mean is between 0 and 1; it is not negative in any case."""
    output: ClassVar[tuple[str, str]]
    """What an exported program gives: a name and what it means."""

    @property
    def always(self) -> tuple[str, str]:
        """The two metrics of every test, chosen or not, as means over samples."""
        return self.score, "loss"

    def check_values(self, labels: np.ndarray, names: Sequence[str], where: str) -> None:
        """Refuses values that are no labels of this target; by default there are none.

        Args:
            labels: Numbers of shape (n, columns), as a file has them.
            names: Of the columns.
            where: What the labels are called in an error.

        Raises:
            InputError: With the first such value, its sample and column, and the remedy.
        """

    @property
    def of_samples(self) -> Target:
        """The target of samples whose own label is known, as a network is tried on; this one."""
        return self

    def unit(self, samples: int) -> int:
        """How many samples are known together alone, so that a batch has all or none of them.

        Args:
            samples: How many labelled ones a client has.
        """
        return 1

    @abstractmethod
    def check(self, labels: np.ndarray, samples: int, names: Sequence[str], where: str) -> None:
        """Refuses labels of another form than this target's.

        Args:
            labels: One split of a domain, as its source yields it.
            samples: How many inputs there are.
            names: The domain's ``class_names``.
            where: What the split is called in an error.

        Raises:
            InputError: With the value and the remedy.
        """

    def check_names(self, names: Sequence[str]) -> None:
        """Refuses a task without anything to learn, such as one class; by default none.

        Raises:
            InputError: With the remedy.
        """

    def check_known(self) -> None:
        """Refuses a target whose parameters depend on data that are not available here.

        Raises:
            InputError: With the parameter to give.
        """

    def cases(self, outputs: int) -> int:
        """How many cases the outputs distinguish; some metrics need two."""
        return outputs

    @abstractmethod
    def stored(self, labels: np.ndarray) -> np.ndarray:
        """Labels in the type of a pool."""

    @abstractmethod
    def kinds(self, labels: np.ndarray) -> np.ndarray:
        """Strata for splits and draws of these samples alone, int64 of shape (n,).

        A function of these labels alone, before anything is known of other domains.
        """

    def fitted(self, labels: np.ndarray) -> Self:
        """The same target with missing parameters estimated from labels.

        Args:
            labels: Of the training samples of all domains that clients may see, as stored.

        Raises:
            InputError: If there is nothing to learn.
        """
        return self

    def remarks(self, names: Sequence[str]) -> list[str]:
        """Remarks on the fit, logged once when the data are loaded."""
        return []

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The stratum of each sample, int64 of shape (n,); label skews divide these.

        Args:
            labels: As stored.
        """

    @abstractmethod
    def strata_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names by stratum."""

    def to_learn(self, labels: Tensor) -> Tensor:
        """Labels in the form of losses.

        Args:
            labels: As stored, shape (n, ...).
        """
        return labels

    def readable(self, outputs: Tensor) -> Tensor:
        """Outputs in the form of metrics; logits by default.

        Args:
            outputs: Of the network, shape (n, outputs).
        """
        return outputs

    def in_units(self) -> torch.nn.Module | None:
        """The last layer of an export, which converts outputs to units; None for none."""
        return None

    @abstractmethod
    def scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The summand of `score` of each sample, bool or float32 of shape (n,).

        Args:
            outputs: Of the network, shape (n, outputs).
            labels: As from `to_learn`.
        """

    @abstractmethod
    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The default loss of each sample, shape (n,); arguments as those of `scores`."""

    @abstractmethod
    def counts(self, labels: Tensor, outputs: int) -> Tensor:
        """Samples of each class or with each label, int64 of shape (outputs,).

        Args:
            labels: As from `to_learn`.
            outputs: Number of the network's outputs.
        """

    @abstractmethod
    def example(self, samples: int, outputs: int) -> Tensor:
        """Labels in stored form, to test networks and metrics; neighbours differ where possible.

        Args:
            samples: How many; may be 0.
            outputs: Number of the network's outputs.
        """

    @abstractmethod
    def texts(self, labels: np.ndarray, names: Sequence[str]) -> list[str]:
        """Labels in stored form as words, for tables."""
